/// @file
/// Mappings of the store that can be written to, where their node's end matters.
#pragma once

#include <cstddef>
#include <cstdint>

namespace haz::py {

/// Copies what the private mappings of that session still share with the arena: the node is going
/// to use the memory again. With the GIL. Those for which there is no memory are left as they are;
/// how many.
std::size_t keep_private_memory(std::uint32_t generation);

}  // namespace haz::py
