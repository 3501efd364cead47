// What a model card (the README.md beside a checkpoint) says to programs.
#ifndef CSM_CHECKPOINT_MODEL_CARD_H_
#define CSM_CHECKPOINT_MODEL_CARD_H_

#include <optional>
#include <string>
#include <string_view>

namespace csm::checkpoint {

/// The value of `key` in a card's front matter, the lines between the first two that are "---":
/// a scalar on one line, as Hugging Face writes license, license_name and license_link. None: there
/// is no such line, or what stands in it is no scalar, or empty.
std::optional<std::string> CardValue(std::string_view card, std::string_view key);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_MODEL_CARD_H_
