#include "engine/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "checkpoint/config_writer.h"
#include "checkpoint/csm_tensors.h"
#include "engine/csm_model.h"
#include "kernels/packed.h"
#include "text/utf8.h"

namespace csm::engine {
namespace {

std::vector<model::WeightBytes> Weights(const CsmBackboneModel::Impl& backbone) {
  std::vector<model::WeightBytes> weights = backbone.stack.weights();
  for (const kernels::MatrixView& table : {backbone.embeddings.text, backbone.embeddings.audio}) {
    const size_t num_bytes = table.rows * kernels::StoredRowBytes(table.dtype, table.cols);
    weights.push_back({table.dtype,
                       table.rows,
                       table.cols,
                       {static_cast<const std::byte*>(table.data), num_bytes}});
  }
  return weights;
}

void AddWeight(const model::WeightBytes& weight, Hash& hash) {
  hash.Add(static_cast<uint64_t>(weight.dtype));
  hash.Add(weight.rows);
  hash.Add(weight.cols);
  hash.AddSamples(weight.bytes);
}

// The decoder, which quantizing changes, plays no part in what a prompt becomes.
void AddCodec(const checkpoint::CsmCheckpoint& checkpoint, Hash& hash) {
  const auto specs =
      checkpoint::MimiTensors(checkpoint.config.codec_config, checkpoint::kCodecPrefix);
  for (const checkpoint::TensorSpec& spec : specs) {
    const checkpoint::TensorView* tensor = checkpoint.tensors->Find(spec.name);
    if (tensor == nullptr || checkpoint::IsCodecDecoderMatrix(*tensor)) continue;
    hash.Add(spec.name);
    hash.Add(static_cast<uint64_t>(tensor->dtype));
    for (const int64_t dimension : tensor->shape) hash.Add(static_cast<uint64_t>(dimension));
    hash.AddSamples(tensor->bytes);
  }
}

std::string Fingerprint(const CsmForConditionalGeneration::Impl& model) {
  Hash hash;
  Json config = checkpoint::ToJson(model.checkpoint.config);
  config.erase("depth_decoder_config");
  hash.Add(config.dump());
  hash.Add(PrecisionName(model));
  for (const model::WeightBytes& weight : Weights(*model.backbone())) AddWeight(weight, hash);
  AddCodec(model.checkpoint, hash);
  return fmt::format("{:016x}", hash.state());
}

}  // namespace

std::string CodecFingerprint(const checkpoint::CsmCheckpoint& checkpoint) {
  Hash hash;
  hash.Add(checkpoint::ToJson(checkpoint.config).at("codec_config").dump());
  AddCodec(checkpoint, hash);
  return fmt::format("{:016x}", hash.state());
}

std::string_view PrecisionName(const CsmForConditionalGeneration::Impl& model) {
  return model.backbone()->lm_head.weight.rounds_input ? "fast" : "exact";
}

ModelIdentity Identify(const CsmForConditionalGeneration::Impl& model) {
  ModelIdentity identity;
  identity.name = text::ReplaceInvalidUtf8(checkpoint::ModelName(model.checkpoint.dir));
  identity.precision = PrecisionName(model);
  std::vector<std::string_view> types;
  for (const model::WeightBytes& weight : Weights(*model.backbone())) {
    const std::string_view name = kernels::NameOf(weight.dtype);
    const bool is_new = std::find(types.begin(), types.end(), name) == types.end();
    if (weight.rows > 1 && is_new) types.push_back(name);
  }
  identity.dtype = fmt::format("{}", fmt::join(types, ", "));
  identity.fingerprint = Fingerprint(model);
  return identity;
}

}  // namespace csm::engine
