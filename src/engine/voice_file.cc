#include "engine/voice_file.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/mapped_file.h"
#include "checkpoint/gguf_types.h"
#include "checkpoint/safetensors.h"
#include "engine/voice.h"
#include "text/conversation.h"

namespace csm {
namespace engine {
namespace {

using checkpoint::TensorView;

// What a config may say (config_rules.cc).
constexpr int64_t kMaxCodebooks = 1024;
constexpr int64_t kMaxLayers = 512;

std::string KeysName(int64_t layer) { return fmt::format("layers.{}.keys", layer); }
std::string ValuesName(int64_t layer) { return fmt::format("layers.{}.values", layer); }

/// Takes a voice out of a file's tensors and metadata.
class VoiceParser {
 public:
  VoiceParser(std::span<const std::byte> file, std::string_view source) : source_(source) {
    if (checkpoint::BeginsAsGguf(file)) {
      Fail<FormatError>(
          "{} is a GGUF file, which holds a model and no voice: csm voice create makes voices",
          source);
    }
    try {
      tensors_ = checkpoint::ParseSafetensors(file, "the file", &metadata_);
    } catch (const FormatError& error) {
      Fail<FormatError>("cannot read the voice {}: {}", source, error.what());
    }
  }

  std::shared_ptr<const Voice::Impl> Parse() {
    CheckFormat();
    voice_->label = fmt::format("the voice {}", source_);
    ReadIds();
    ReadCodes();
    ReadInfo();
    ReadConversation();
    ReadCache();
    return voice_;
  }

 private:
  void CheckFormat() const {
    const auto format = metadata_.find("format");
    if (format == metadata_.end() || format->second != kVoiceFormat) {
      Fail<FormatError>(
          "{} is not a voice, but another safetensors file: csm voice create makes one", source_);
    }
    const std::string& version = Metadata("version");
    if (version != kVoiceVersion) {
      Fail<FormatError>("{} is a voice of format version {}, expected {}", source_,
                        checkpoint::QuoteName(version), kVoiceVersion);
    }
  }

  const std::string& Metadata(std::string_view key) const {
    const auto found = metadata_.find(key);
    if (found == metadata_.end()) {
      Fail<FormatError>("the voice {} has no {} in its metadata", source_, key);
    }
    return found->second;
  }

  /// A tensor of this type whose dimensions are `num_dimensions`, none of them 0.
  const TensorView& Get(std::string_view name, std::string_view type, size_t num_dimensions) const {
    const TensorView* tensor = checkpoint::FindByName(tensors_, name);
    if (tensor == nullptr) Fail<FormatError>("the voice {} has no tensor {}", source_, name);
    std::string_view stored = tensor->dtype == DType::kF32 ? "F32" : "16-bit floats";
    if (!tensor->other_dtype.empty()) stored = tensor->other_dtype;
    const bool is_empty = std::count(tensor->shape.begin(), tensor->shape.end(), 0) > 0;
    if (stored != type || tensor->shape.size() != num_dimensions || is_empty) {
      Fail<FormatError>("the voice {}: tensor {} is {} of shape [{}], expected {} of {} dimensions",
                        source_, name, stored, fmt::join(tensor->shape, ", "), type,
                        num_dimensions);
    }
    return *tensor;
  }

  /// Its values, which are not negative.
  std::vector<int32_t> Integers(const TensorView& tensor) const {
    std::vector<int32_t> values(tensor.bytes.size() / sizeof(int32_t));
    std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    const auto negative =
        std::find_if(values.begin(), values.end(), [](int32_t value) { return value < 0; });
    if (negative != values.end()) {
      Fail<FormatError>("the voice {}: tensor {} holds {}, expected 0 or more", source_,
                        tensor.name, *negative);
    }
    return values;
  }

  void ReadIds() {
    voice_->input_ids = Integers(Get("input_ids", "I32", 1));
    if (voice_->input_ids.size() > INT32_MAX) {
      Fail<FormatError>("the voice {} has {} positions, more than any model", source_,
                        voice_->input_ids.size());
    }
  }

  void ReadCodes() {
    const TensorView& codes = Get("codes", "I32", 2);
    if (codes.shape[0] > std::ssize(voice_->input_ids) || codes.shape[1] > kMaxCodebooks) {
      Fail<FormatError>("the voice {} has codes of shape [{}], expected [frames, codebooks]",
                        source_, fmt::join(codes.shape, ", "));
    }
    voice_->codes = {static_cast<int>(codes.shape[1]), Integers(codes)};
  }

  void ReadInfo() {
    VoiceInfo& info = voice_->info;
    info.model = Metadata("model");
    info.dtype = Metadata("dtype");
    info.precision = Metadata("precision");
    info.fingerprint = Metadata("fingerprint");
    info.num_positions = std::ssize(voice_->input_ids);
    info.num_frames = voice_->codes.num_frames();
    if (Metadata("positions") != std::to_string(info.num_positions)) {
      Fail<FormatError>("the voice {} says that it has {} positions, and has {} ids", source_,
                        checkpoint::QuoteName(Metadata("positions")), info.num_positions);
    }
    const std::string& seconds = Metadata("audio_seconds");
    const Json number = ParseJson(seconds, fmt::format("the voice {}: audio_seconds", source_));
    info.audio_seconds = number.is_number() ? number.get<double>() : -1;
    if (!(info.audio_seconds >= 0) || !std::isfinite(info.audio_seconds)) {
      Fail<FormatError>("the voice {} has the audio_seconds {}, expected a number", source_,
                        checkpoint::QuoteName(seconds));
    }
  }

  [[noreturn]] void FailTurn(size_t index, std::string_view what) const {
    Fail<FormatError>("the voice {}: turn {} of its conversation {}", source_, index, what);
  }

  void ReadConversation() {
    const Json turns =
        ParseJson(Metadata("conversation"), fmt::format("the voice {}: conversation", source_));
    int next_frame = 0;
    for (size_t i = 0; turns.is_array() && i < turns.size(); ++i) {
      voice_->conversation.push_back(ReadTurn(turns[i], i, next_frame));
    }
    const int num_frames = voice_->codes.num_frames();
    if (voice_->conversation.empty() || next_frame != num_frames) {
      Fail<FormatError>("the voice {} has {} turns with {} frames of audio, and codes of {}",
                        source_, voice_->conversation.size(), next_frame, num_frames);
    }
  }

  Message ReadTurn(const Json& json, size_t index, int& next_frame) const {
    if (!json.is_object()) FailTurn(index, "is not an object");
    const Json role = json.value("role", Json()), text = json.value("text", Json()),
               frames = json.value("frames", Json());
    const int64_t left = voice_->codes.num_frames() - next_frame;
    const bool has_frames =
        frames.is_number_integer() && frames.get<int64_t>() >= 0 && frames.get<int64_t>() <= left;
    if (!role.is_string() || !text.is_string() || !has_frames) {
      FailTurn(index, "has no role, text and number of frames that are left of its codes");
    }
    Message message;
    message.role = role.get<std::string>();
    message.content.emplace_back(csm::Text{text.get<std::string>()});
    if (const int count = frames.get<int>(); count > 0) {
      message.content.emplace_back(Audio{Frames(next_frame, count)});
      next_frame += count;
    }
    try {
      (void)text::ReadTurn(message);
    } catch (const ArgumentError& error) {
      FailTurn(index, error.what());
    }
    return message;
  }

  Codes Frames(int first, int count) const {
    const Codes& all = voice_->codes;
    const auto begin = all.data.begin() + std::ptrdiff_t{first} * all.num_codebooks;
    return {all.num_codebooks, {begin, begin + std::ptrdiff_t{count} * all.num_codebooks}};
  }

  void ReadCache() {
    KvCache::Impl& cache = voice_->cache;
    const auto num_layers = (std::ssize(tensors_) - 2) / 2;  // beside input_ids and codes
    const int64_t positions = voice_->info.num_positions;
    const int64_t width = Get(KeysName(0), "F32", 2).shape[1];
    if (std::ssize(tensors_) != 2 + 2 * num_layers || num_layers > kMaxLayers) {
      Fail<FormatError>(
          "the voice {} has {} tensors, expected input_ids, codes and two for each of at most {} "
          "layers",
          source_, tensors_.size(), kMaxLayers);
    }
    // All of them are looked at before memory is taken for any.
    for (int64_t i = 0; i < num_layers; ++i) {
      CheckLayer(Get(KeysName(i), "F32", 2), positions, width);
      CheckLayer(Get(ValuesName(i), "F32", 2), positions, width);
    }
    cache.Reserve(num_layers, width, positions);
    cache.length = positions;
    for (int64_t i = 0; i < num_layers; ++i) {
      CopyFloats(Get(KeysName(i), "F32", 2), cache.Keys(i, 0));
      CopyFloats(Get(ValuesName(i), "F32", 2), cache.Values(i, 0));
    }
  }

  void CheckLayer(const TensorView& tensor, int64_t positions, int64_t width) const {
    if (tensor.shape[0] == positions && tensor.shape[1] == width) return;
    Fail<FormatError>("the voice {}: tensor {} has shape [{}], expected [{}, {}]", source_,
                      tensor.name, fmt::join(tensor.shape, ", "), positions, width);
  }

  void CopyFloats(const TensorView& tensor, float* to) const {
    const size_t count = tensor.bytes.size() / sizeof(float);
    std::memcpy(to, tensor.bytes.data(), tensor.bytes.size());
    if (std::all_of(to, to + count, [](float value) { return std::isfinite(value); })) return;
    Fail<FormatError>("the voice {}: tensor {} holds a value that is not a finite number", source_,
                      tensor.name);
  }

  std::string_view source_;
  checkpoint::SafetensorsMetadata metadata_;
  std::vector<TensorView> tensors_;
  std::shared_ptr<Voice::Impl> voice_ = std::make_shared<Voice::Impl>();
};

checkpoint::SafetensorsMetadata MetadataOf(const Voice::Impl& voice) {
  Json turns = Json::array();
  for (const Message& message : voice.conversation) {
    const text::Turn turn = text::ReadTurn(message);
    const Codes* codes = turn.audio == nullptr ? nullptr : &std::get<Codes>(turn.audio->source);
    turns.push_back({{"role", turn.role},
                     {"text", turn.text},
                     {"frames", codes == nullptr ? 0 : codes->num_frames()}});
  }
  const VoiceInfo& info = voice.info;
  return {{"format", kVoiceFormat},
          {"version", kVoiceVersion},
          {"model", info.model},
          {"dtype", info.dtype},
          {"precision", info.precision},
          {"fingerprint", info.fingerprint},
          {"positions", std::to_string(info.num_positions)},
          {"audio_seconds", Json(info.audio_seconds).dump()},
          {"conversation", turns.dump()}};
}

template <typename T>
TensorView View(std::string name, std::vector<int64_t> shape, const T* data) {
  size_t count = 1;
  for (const int64_t dimension : shape) count *= static_cast<size_t>(dimension);
  TensorView view{.name = std::move(name), .shape = std::move(shape)};
  view.bytes = std::as_bytes(std::span(data, count));
  if (std::is_same_v<T, int32_t>) view.other_dtype = "I32";
  return view;
}

}  // namespace

std::shared_ptr<const Voice::Impl> ParseVoice(std::span<const std::byte> file,
                                              std::string_view source) {
  return VoiceParser(file, source).Parse();
}

}  // namespace engine

Voice Voice::from_file(const std::filesystem::path& file) {
  const MappedFile mapped(file);
  return Voice(engine::ParseVoice(mapped.bytes(), file.string()));
}

void Voice::save(const std::filesystem::path& file) const {
  using engine::View;
  const int64_t positions = impl_->info.num_positions;
  const KvCache::Impl& cache = impl_->cache;
  std::vector<checkpoint::TensorView> views;
  views.push_back(View("input_ids", {positions}, impl_->input_ids.data()));
  views.push_back(View("codes", {impl_->info.num_frames, impl_->codes.num_codebooks},
                       impl_->codes.data.data()));
  for (int64_t i = 0; i < cache.num_layers; ++i) {
    views.push_back(View(engine::KeysName(i), {positions, cache.width}, cache.Keys(i, 0)));
    views.push_back(View(engine::ValuesName(i), {positions, cache.width}, cache.Values(i, 0)));
  }
  std::vector<checkpoint::TensorToWrite> tensors;
  for (const auto& view : views) tensors.push_back({&view, DType::kF32});
  checkpoint::WriteSafetensors(file, tensors, /*store=*/nullptr, engine::MetadataOf(*impl_));
}

}  // namespace csm
