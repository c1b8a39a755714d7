/// @file
/// The options of a function or class as a part of a message.
#pragma once

#include "sched/scheduler.h"
#include "wire/message_reader.h"

namespace haz {

/// Appends `options` to `message`.
void encode_function_options(const FunctionOptions& options, MessageBuilder& message);
/// Takes what encode_function_options() wrote; `reader` says whether it was whole.
FunctionOptions decode_function_options(MessageReader& reader);

}  // namespace haz
