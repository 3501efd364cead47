#include "mimi/codec.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "checkpoint/config_rules.h"

namespace csm {
namespace {

using mimi::Size;

mimi::Conv1d::Shape DownsampleShape(const MimiConfig& config) {
  return {.in_channels = Size(config.hidden_size),
          .out_channels = Size(config.hidden_size),
          .kernel = 2 * Size(checkpoint::LatentStride(config)),
          .stride = Size(checkpoint::LatentStride(config)),
          .bias = false,
          .padding = mimi::Padding::kReplicate};
}

mimi::ConvTranspose1d::Shape UpsampleShape(const MimiConfig& config) {
  return {.in_channels = Size(config.hidden_size),
          .out_channels = Size(config.hidden_size),
          .kernel = 2 * Size(checkpoint::LatentStride(config)),
          .stride = Size(checkpoint::LatentStride(config)),
          .groups = Size(config.upsample_groups),
          .bias = false};
}

}  // namespace

MimiModel::Impl::Impl(const MimiConfig& mimi_config, checkpoint::WeightLoader& loader,
                      checkpoint::WeightLoader& decoder_loader, const std::string& prefix,
                      const Runtime& threads)
    : config(mimi_config),
      runtime(threads),
      encoder(loader, prefix + "encoder.", config),
      encoder_transformer(loader, prefix + "encoder_transformer.", config),
      downsample(loader, prefix + "downsample.conv", DownsampleShape(config)),
      quantizer(loader, prefix + "quantizer.", config),
      upsample(decoder_loader, prefix + "upsample.conv", UpsampleShape(config)),
      decoder_transformer(decoder_loader, prefix + "decoder_transformer.", config),
      decoder(decoder_loader, prefix + "decoder.", config),
      encoder_memory(loader.memory()),
      decoder_memory(decoder_loader.memory()) {}

namespace mimi {

std::shared_ptr<const MimiModel::Impl> LoadMimi(const checkpoint::MimiCheckpoint& checkpoint,
                                                const Runtime& runtime,
                                                std::optional<DType> dtype) {
  ThreadPool* pool = &runtime.impl()->pool;
  const bool is_quantized = dtype && kernels::IsQuantized(*dtype);
  checkpoint::WeightLoader loader(checkpoint.tensors, std::nullopt, pool);
  checkpoint::WeightLoader decoder_loader(
      checkpoint.tensors, is_quantized ? std::optional(DType::kF16) : std::nullopt, pool);
  return std::make_shared<const MimiModel::Impl>(checkpoint.config, loader, decoder_loader,
                                                 checkpoint.prefix, runtime);
}

LatentEncoder::LatentEncoder(const MimiModel::Impl& model)
    : model_(model),
      seanet_(model.encoder),
      transformer_(model.encoder_transformer),
      transformer_scratch_(model.encoder_transformer),
      downsample_(model.downsample),
      hidden_(Size(model.config.hidden_size)) {}

void LatentEncoder::Step(std::span<const float> samples, bool is_end, Rows& latents) {
  ThreadPool& pool = model_.pool();
  hidden_.Clear();
  model_.encoder.Step(seanet_, samples.data(), samples.size(), is_end, hidden_, pool);
  model_.encoder_transformer.Step(Only(transformer_), hidden_.data(), hidden_.size(),
                                  transformer_scratch_, pool);
  const Conv1d& downsample = model_.downsample;
  float* y = latents.Append(downsample.NumOutputs(downsample_, hidden_.size()));
  downsample.Step(Only(downsample_), hidden_.data(), hidden_.size(), y, downsample_scratch_, pool);
  if (is_end) {
    y = latents.Append(downsample.NumFinalOutputs(downsample_));
    downsample.Finish(downsample_, y, downsample_scratch_, pool);
  }
}

DecoderState::DecoderState(const MimiModel::Impl& model)
    : upsample(model.upsample), transformer(model.decoder_transformer), seanet(model.decoder) {}

StreamDecoder::StreamDecoder(const MimiModel::Impl& model)
    : model_(model),
      transformer_(model.decoder_transformer),
      seanet_(model.decoder),
      latents_(Size(model.config.hidden_size)),
      hidden_(Size(model.config.hidden_size)) {}

void StreamDecoder::Step(Streams<DecoderState> streams, const int32_t* codes, size_t num_frames,
                         size_t num_codebooks, float* samples) {
  if (streams.empty() || num_frames == 0) return;
  ThreadPool& pool = model_.pool();
  const size_t all_frames = streams.size() * num_frames;
  latents_.Clear();
  float* latents = latents_.Append(all_frames);
  model_.quantizer.Decode(codes, all_frames, num_codebooks, latents, quantizer_, pool);

  const size_t num_rows = num_frames * model_.upsample.shape().stride;
  hidden_.Clear();
  float* hidden = hidden_.Append(streams.size() * num_rows);
  const auto upsample = PartsOf(
      streams, [](DecoderState & s) -> auto& { return s.upsample; });
  model_.upsample.Step(upsample, latents, num_frames, hidden, upsample_, pool);
  const auto transformer = PartsOf(
      streams, [](DecoderState & s) -> auto& { return s.transformer; });
  model_.decoder_transformer.Step(transformer, hidden, num_rows, transformer_, pool);
  const auto seanet = PartsOf(
      streams, [](DecoderState & s) -> auto& { return s.seanet; });
  model_.decoder.Step(seanet, hidden, num_rows, samples, seanet_, pool);
  const std::span<const float> all(samples, all_frames * Size(model_.config.frame_size()));
  if (!std::ranges::all_of(all, [](float x) { return std::isfinite(x); })) {
    Fail<Error>("the codec computed audio that is not finite; its weights are not sound");
  }
}

}  // namespace mimi

struct MimiModel::Encoder::Impl {
  Impl(std::shared_ptr<const MimiModel::Impl> mimi, size_t codebooks)
      : model(std::move(mimi)),
        num_codebooks(codebooks),
        latent_encoder(*model),
        latents(Size(model->config.hidden_size)) {}

  // Appends the frames that the samples complete, at most a piece's worth of them.
  void Step(std::span<const float> samples, bool is_end, Codes& codes) {
    latents.Clear();
    latent_encoder.Step(samples, is_end, latents);
    const size_t begin = codes.data.size();
    codes.data.resize(begin + latents.size() * num_codebooks);
    model->quantizer.Encode(latents.data(), latents.size(), num_codebooks,
                            codes.data.data() + begin, scratch, model->pool());
  }

  std::shared_ptr<const MimiModel::Impl> model;
  size_t num_codebooks;
  mimi::LatentEncoder latent_encoder;
  mimi::Rows latents;
  mimi::QuantizerScratch scratch;
  bool finished = false;
};

MimiModel::Encoder::Encoder(const MimiModel& model, int num_codebooks) {
  const int64_t num_quantizers = model.config().num_quantizers;
  if (num_codebooks < 0 || num_codebooks > num_quantizers) {
    Fail<ArgumentError>("num_codebooks is {}; the codec has 1 to {} codebooks, 0 means all",
                        num_codebooks, num_quantizers);
  }
  impl_ = std::make_unique<Impl>(model.impl_,
                                 Size(num_codebooks == 0 ? num_quantizers : num_codebooks));
}

MimiModel::Encoder::~Encoder() = default;
MimiModel::Encoder::Encoder(Encoder&&) noexcept = default;
MimiModel::Encoder& MimiModel::Encoder::operator=(Encoder&&) noexcept = default;

Codes MimiModel::Encoder::push(std::span<const float> samples) {
  if (impl_->finished) {
    Fail<ArgumentError>("push() was called after finish(); a new stream needs a new Encoder");
  }
  Codes codes{.num_codebooks = static_cast<int>(impl_->num_codebooks)};
  const size_t piece = mimi::kFramesPerPiece * Size(impl_->model->config.frame_size());
  for (; !samples.empty(); samples = samples.subspan(std::min(piece, samples.size()))) {
    impl_->Step(samples.first(std::min(piece, samples.size())), /*is_end=*/false, codes);
  }
  return codes;
}

Codes MimiModel::Encoder::finish() {
  Codes codes{.num_codebooks = static_cast<int>(impl_->num_codebooks)};
  if (!impl_->finished) impl_->Step({}, /*is_end=*/true, codes);
  impl_->finished = true;
  return codes;
}

struct MimiModel::Decoder::Impl {
  explicit Impl(std::shared_ptr<const MimiModel::Impl> mimi)
      : model(std::move(mimi)), state(*model), decoder(*model) {}

  void Check(const Codes& codes) const;

  std::shared_ptr<const MimiModel::Impl> model;
  mimi::DecoderState state;
  mimi::StreamDecoder decoder;
  size_t num_frames_done = 0;
};

void MimiModel::Decoder::Impl::Check(const Codes& codes) const {
  const int64_t num_quantizers = model->config.num_quantizers;
  const int64_t codebook_size = model->config.codebook_size;
  if (codes.num_codebooks < 1 || codes.num_codebooks > num_quantizers) {
    Fail<ArgumentError>("codes have {} codebooks; the codec decodes 1 to {}", codes.num_codebooks,
                        num_quantizers);
  }
  const size_t num_codebooks = Size(codes.num_codebooks);
  if (codes.data.size() % num_codebooks != 0) {
    Fail<ArgumentError>("there are {} codes, which is no whole number of frames of {} codebooks",
                        codes.data.size(), num_codebooks);
  }
  for (size_t i = 0; i < codes.data.size(); ++i) {
    if (codes.data[i] < 0 || codes.data[i] >= codebook_size) {
      Fail<ArgumentError>("frame {}, codebook {} has code {}; the codec's codes are 0 to {}",
                          num_frames_done + i / num_codebooks, i % num_codebooks, codes.data[i],
                          codebook_size - 1);
    }
  }
}

MimiModel::Decoder::Decoder(const MimiModel& model) : impl_(std::make_unique<Impl>(model.impl_)) {}

MimiModel::Decoder::~Decoder() = default;
MimiModel::Decoder::Decoder(Decoder&&) noexcept = default;
MimiModel::Decoder& MimiModel::Decoder::operator=(Decoder&&) noexcept = default;

std::vector<float> MimiModel::Decoder::push(const Codes& codes) {
  std::vector<float> samples;
  if (codes.data.empty()) return samples;
  impl_->Check(codes);  // before the first step: a stream survives codes that it refuses
  const size_t num_codebooks = Size(codes.num_codebooks);
  const size_t num_frames = codes.data.size() / num_codebooks;
  const size_t frame_size = Size(impl_->model->config.frame_size());
  samples.resize(num_frames * frame_size);
  for (size_t begin = 0; begin < num_frames; begin += mimi::kFramesPerPiece) {
    impl_->decoder.Step(mimi::Only(impl_->state), codes.data.data() + begin * num_codebooks,
                        std::min(mimi::kFramesPerPiece, num_frames - begin), num_codebooks,
                        samples.data() + begin * frame_size);
  }
  impl_->num_frames_done += num_frames;
  return samples;
}

MimiModel MimiModel::from_pretrained(const std::filesystem::path& dir, const LoadOptions& options) {
  return MimiModel(
      mimi::LoadMimi(checkpoint::OpenMimiCheckpoint(dir), RuntimeOf(options), options.dtype));
}

const MimiConfig& MimiModel::config() const { return impl_->config; }

Codes MimiModel::encode(std::span<const float> samples, int num_codebooks) const {
  Encoder encoder(*this, num_codebooks);
  Codes codes = encoder.push(samples);
  codes.append(encoder.finish());
  return codes;
}

std::vector<float> MimiModel::decode(const Codes& codes) const {
  return Decoder(*this).push(codes);
}

}  // namespace csm
