#include "api/task_call.h"

#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <optional>
#include <string>

#include "api/actor_exit.h"
#include "api/fork_guard.h"
#include "api/registry.h"
#include "api/task_failure.h"
#include "api/throw_stack.h"
#include "base/units.h"
#include "haz/task_error.h"
#include "os/process.h"
#include "wire/plain_error.h"

namespace haz {

namespace {

constexpr std::size_t kCountsBytes = 2 * sizeof(std::uint32_t);

/// The arguments of a command, in order: values of its payload, and objects.
class CommandArguments final : public detail::call_arguments {
 public:
  CommandArguments(const TaskCommand& command, Arena& arena)
      : arena_(arena),
        block_(command.block_offset != 0 ? arena.at(command.block_offset)
                                         : command.near_bytes.data()),
        locations_(block_ + align_up(command.payload_size, 8)) {
    std::memcpy(&positional_, block_, sizeof positional_);
    std::memcpy(&keyword_, block_ + sizeof positional_, sizeof keyword_);
    const std::size_t head = kCountsBytes + positional_ + keyword_;
    inline_values_.emplace(block_ + head, command.payload_size - head, 0);
  }

  [[nodiscard]] std::uint32_t positional() const { return positional_; }
  [[nodiscard]] std::uint32_t keyword() const { return keyword_; }

  detail::reader& next() override {
    const std::byte kind = block_[kCountsBytes + index_++];
    if (kind == std::byte{0}) return *inline_values_;
    ArgumentLocation location{};
    std::memcpy(&location, locations_ + dependency_++ * sizeof location, sizeof location);
    const bool near = (location.size_high_and_near & kNearArgument) != 0;
    const std::uint64_t size =
        location.size_low | (std::uint64_t{location.size_high_and_near & ~kNearArgument} << 32U);
    if (near) {
      object_.emplace(locations_ + location.offset, size, 0);
    } else {
      object_.emplace(arena_.at(location.offset), size, location.object);
    }
    return *object_;
  }

 private:
  Arena& arena_;
  const std::byte* block_;
  const std::byte* locations_;
  std::uint32_t positional_ = 0;
  std::uint32_t keyword_ = 0;
  std::size_t index_ = 0;
  std::size_t dependency_ = 0;
  std::optional<detail::reader> inline_values_;
  std::optional<detail::reader> object_;
};

/// Those of a call outside of a task, one after the other.
class ValueArguments final : public detail::call_arguments {
 public:
  explicit ValueArguments(const LocalArguments& arguments)
      : values_(arguments.bytes.get(), arguments.size, arguments.bytes) {}

  detail::reader& next() override { return values_; }

 private:
  detail::reader values_;
};

/// "(an integer, a 1-D array of float64)"
std::string given(detail::call_arguments& arguments, std::size_t count) {
  std::string text = "(";
  for (std::size_t i = 0; i < count; ++i)
    text += (i == 0 ? "" : ", ") + arguments.next().next_whole().described();
  return text + ")";
}

void check_count(const detail::remote_function& function, std::size_t positional,
                 std::size_t keyword) {
  if (keyword != 0) {
    throw type_error(function.name + signature_of(function) +
                     " was given arguments by name, and a task of C++ has them by position only");
  }
  if (positional != function.num_parameters) {
    throw type_error(function.name + signature_of(function) + " takes " +
                     std::to_string(function.num_parameters) + " arguments, and was given " +
                     std::to_string(positional));
  }
}

/// Names the function and what it was given in what is said of its arguments: `again` reads them
/// from their beginning.
template <class Again>
void invoke(const detail::remote_function& function, detail::call_arguments& arguments,
            const Again& again, detail::writer& out, std::shared_ptr<void>& self) {
  try {
    function.invoke(arguments, out, self);
  } catch (const detail::argument_mismatch& mismatch) {
    throw type_error(function.name + signature_of(function) + " was given " + again() + ": " +
                     mismatch.what());
  }
}

/// The function has forked, and this is the child, which returns from it: it ends here, and only
/// the parent's return counts.
[[noreturn]] void leave_forked_child(int code) {
  std::cout.flush();
  std::fflush(nullptr);
  exit_now(code);
}

CallOutcome failed(std::span<const std::byte> error) {
  return {.outcome = Outcome::kRetryable, .size = error.size(), .bytes = error};
}

}  // namespace

void run_call(const detail::remote_function& function, std::string_view task_name,
              const TaskCommand& command, std::shared_ptr<void>& self, Arena& arena,
              detail::engine& engine, const std::function<void(const CallOutcome&)>& done) {
  std::vector<std::byte> error;
  const ThrowStacks noted;
  try {
    detail::writer out;
    {
      CommandArguments arguments(command, arena);
      check_count(function, arguments.positional(), arguments.keyword());
      const auto again = [&] {
        CommandArguments read_again(command, arena);
        return given(read_again, function.num_parameters);
      };
      invoke(function, arguments, again, out, self);
    }
    if (is_forked_child()) leave_forked_child(0);
    const detail::encoded value = out.value();
    detail::stored place{};
    detail::failure why;
    if (engine.store(value, &place, why)) {
      CallOutcome result{.offset = place.offset, .size = place.size};
      if (place.offset == 0) result.bytes = {value.stream, value.size};
      result.refs = {reinterpret_cast<const ObjectId*>(value.refs), value.num_refs};
      done(result);
      return;
    }
    error = plain_error("object_store_full", why.text);
  } catch (const ActorExit&) {
    return;  // the actor has no result for it
  } catch (...) {
    if (is_forked_child()) leave_forked_child(1);
    error = pack_current_exception(task_name);
  }
  done(failed(error));
}

void call_here(const detail::remote_function& function, std::string_view task_name,
               const LocalArguments& arguments, std::shared_ptr<void>& self,
               const LocalCallDone& done) {
  std::vector<std::byte> error;
  try {
    check_count(function, arguments.count, 0);
    detail::writer out;
    {
      ValueArguments values(arguments);
      const auto again = [&] {
        ValueArguments read_again(arguments);
        return given(read_again, function.num_parameters);
      };
      invoke(function, values, again, out, self);
    }
    const detail::encoded value = out.value();
    done(&value, {});
    return;
  } catch (...) {
    error = pack_current_exception(task_name);
  }
  done(nullptr, error);
}

}  // namespace haz
