#include "sched/group_message.h"

#include "sched/message_parts.h"

namespace haz {

void encode_group_spec(const GroupSpec& spec, MessageBuilder& message) {
  message.add(spec.id.value);
  message.add(std::uint64_t{spec.is_detached});
  add_text(message, spec.name);
  add_text(message, spec.name_space);
  add_text(message, spec.strategy);
  message.add(std::uint64_t{spec.bundles.size()});
  for (const Amounts& bundle : spec.bundles)
    add_amounts(message, bundle);
}

GroupSpec decode_group_spec(MessageReader& reader) {
  GroupSpec spec;
  spec.id = ObjectId{reader.take<std::uint64_t>()};
  spec.is_detached = reader.take<std::uint64_t>() != 0;
  spec.name = take_text(reader);
  spec.name_space = take_text(reader);
  spec.strategy = take_text(reader);
  const auto count = reader.take<std::uint64_t>();
  for (std::uint64_t i = 0; i < count && reader.ok(); ++i)
    spec.bundles.push_back(take_amounts(reader));
  return spec;
}

}  // namespace haz
