#include "api/task_call.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <iostream>
#include <optional>
#include <string>
#include <utility>

#include "api/actor_exit.h"
#include "api/fork_guard.h"
#include "api/registry.h"
#include "api/task_failure.h"
#include "api/throw_stack.h"
#include "base/units.h"
#include "client/client.h"
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
    std::size_t head = kCountsBytes + positional_ + keyword_;
    if ((positional_ & detail::each_item) != 0) {
      positional_ &= ~detail::each_item;
      num_items_ = command.num_returns;
      ends_ = block_ + kCountsBytes + num_items_ * positional_;
      head = kCountsBytes + num_items_ * (positional_ + sizeof(std::uint32_t));
    }
    values_ = {block_ + head, command.payload_size - head};
    inline_values_.emplace(values_.data(), values_.size(), 0);
  }

  [[nodiscard]] std::uint32_t positional() const { return positional_; }
  [[nodiscard]] std::uint32_t keyword() const { return keyword_; }
  /// Of a chunk of a map(); 0: it is none.
  [[nodiscard]] std::size_t num_items() const { return num_items_; }

  /// The arguments of item number `item` come next, whatever was read of those before it.
  void move_to(std::size_t item) {
    const std::byte* const kinds = block_ + kCountsBytes;
    index_ = item * positional_;
    dependency_ =
        static_cast<std::size_t>(std::count(kinds, kinds + index_, detail::from_dependency));
    std::uint32_t begin = 0;
    if (item > 0) std::memcpy(&begin, ends_ + (item - 1) * sizeof begin, sizeof begin);
    inline_values_.emplace(values_.data() + begin, values_.size() - begin, 0);
  }

  detail::reader& next() override {
    const std::byte kind = block_[kCountsBytes + index_++];
    if (kind != detail::from_dependency) return *inline_values_;
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
  std::size_t num_items_ = 0;
  const std::byte* ends_ = nullptr;    ///< Of the items' values, u32 each.
  std::span<const std::byte> values_;  ///< Those that are no objects.
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

NewValue failed(std::span<const std::byte> error) {
  return {.size = error.size(), .is_error = true, .bytes = error};
}

/// What the items of a chunk have come to, up to the end of the attempt.
class ItemResults {
 public:
  ItemResults(std::size_t count, detail::engine& engine) : engine_(engine) {
    values_.reserve(count);
    places_.reserve(count);
  }

  /// Where the next item writes its result.
  [[nodiscard]] detail::writer& out() { return out_; }

  void add_written() {
    const std::size_t size = out_.size() - begin_;
    NewValue value{.size = size};
    const std::size_t first_ref = refs_.size();
    if (!out_.refs().empty()) {
      for (const std::uint64_t id : out_.refs())
        refs_.push_back(ObjectId{id});
      kept_.push_back(out_.take_kept());
    }
    if (out_.num_far() != 0 || size > Client::kMaxNearValue) {
      detail::stored place{};
      detail::failure why;
      const bool is_stored = engine_.store(out_.value(begin_), &place, why);
      out_.cut(begin_, 0, 0);
      if (!is_stored) {
        refs_.resize(first_ref);
        add_error(plain_error("object_store_full", why.text));
        return;
      }
      value = {.offset = place.offset, .size = place.size};
    } else {
      out_.cut(out_.size(), 0, 0);
    }
    add(value, first_ref);
  }
  /// In place of what was written of its result.
  void add_error(std::vector<std::byte> error) {
    out_.cut(begin_, 0, 0);
    errors_.push_back(std::move(error));
    add(failed(errors_.back()), refs_.size());
  }
  [[nodiscard]] std::size_t size() const { return values_.size(); }

  /// All of them. Nothing is added any more.
  std::span<NewValue> finish() {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      NewValue& value = values_[i];
      const Place& place = places_[i];
      if (!value.is_error && value.offset == 0)
        value.bytes = {out_.data() + place.begin, value.size};
      const std::size_t end = i + 1 < places_.size() ? places_[i + 1].first_ref : refs_.size();
      value.refs = std::span(refs_).subspan(place.first_ref, end - place.first_ref);
    }
    return values_;
  }

 private:
  /// In what grows and so moves.
  struct Place {
    std::size_t begin;
    std::size_t first_ref;
  };

  void add(const NewValue& value, std::size_t first_ref) {
    values_.push_back(value);
    places_.push_back({begin_, first_ref});
    begin_ = out_.size();
  }

  detail::engine& engine_;
  detail::writer out_;
  std::size_t begin_ = 0;  ///< Of the next result.
  std::vector<NewValue> values_;
  std::vector<Place> places_;
  std::vector<ObjectId> refs_;
  std::vector<std::shared_ptr<const void>> kept_;  ///< What counts `refs_` until the node does.
  std::deque<std::vector<std::byte>> errors_;
};

/// Calls the function for each item.
void run_items(const detail::remote_function& function, std::string_view task_name,
               const TaskCommand& command, CommandArguments& arguments, Arena& arena,
               detail::engine& engine, ItemResults& results) {
  std::shared_ptr<void> no_self;
  bool has_failed = false;
  for (std::size_t item = 0; item < arguments.num_items(); ++item) {
    if (engine.is_interrupted()) break;
    try {
      if (has_failed) arguments.move_to(item);  // nobody knows what the last one has read
      has_failed = false;
      const auto again = [&] {
        CommandArguments read_again(command, arena);
        read_again.move_to(item);
        return given(read_again, function.num_parameters);
      };
      invoke(function, arguments, again, results.out(), no_self);
      if (is_forked_child()) leave_forked_child(0);
      results.add_written();
    } catch (...) {
      if (is_forked_child()) leave_forked_child(1);
      has_failed = true;
      results.add_error(pack_current_exception(task_name));
    }
  }
  while (results.size() < arguments.num_items())
    results.add_error(plain_error("cancelled", "the task was told to stop"));
}

}  // namespace

void run_call(const detail::remote_function& function, std::string_view task_name,
              const TaskCommand& command, std::shared_ptr<void>& self, Arena& arena,
              detail::engine& engine, const std::function<void(const CallOutcome&)>& done) {
  std::vector<std::byte> error;
  std::optional<ItemResults> items;
  const ThrowStacks noted;
  try {
    detail::writer out;
    {
      CommandArguments arguments(command, arena);
      check_count(function, arguments.positional(), arguments.keyword());
      if (arguments.num_items() != 0) {
        items.emplace(arguments.num_items(), engine);
        run_items(function, task_name, command, arguments, arena, engine, *items);
      } else {
        const auto again = [&] {
          CommandArguments read_again(command, arena);
          return given(read_again, function.num_parameters);
        };
        invoke(function, arguments, again, out, self);
      }
    }
    if (items) {
      done({.values = items->finish()});
      return;
    }
    if (is_forked_child()) leave_forked_child(0);
    const detail::encoded value = out.value();
    detail::stored place{};
    detail::failure why;
    if (engine.store(value, &place, why)) {
      NewValue result{.offset = place.offset, .size = place.size};
      if (place.offset == 0) result.bytes = {value.stream, value.size};
      result.refs = {reinterpret_cast<const ObjectId*>(value.refs), value.num_refs};
      done({.values = std::span(&result, 1)});
      return;
    }
    error = plain_error("object_store_full", why.text);
  } catch (const ActorExit&) {
    return;  // the actor has no result for it
  } catch (...) {
    if (is_forked_child()) leave_forked_child(1);
    error = pack_current_exception(task_name);
  }
  NewValue result = failed(error);
  done({.outcome = Outcome::kRetryable, .values = std::span(&result, 1)});
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
