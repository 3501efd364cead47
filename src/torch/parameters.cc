#include "torch/parameters.h"

#include <cstring>
#include <regex>

#include "base/error.h"
#include "checkpoint/csm_tensors.h"
#include "checkpoint/tensor_values.h"

namespace csm::train {
namespace {

DType Counterpart(torch::ScalarType dtype) {
  switch (dtype) {
    case torch::kBFloat16:
      return DType::kBF16;
    case torch::kHalf:
      return DType::kF16;
    default:
      return DType::kF32;
  }
}

}  // namespace

std::string StoredName(const checkpoint::CsmCheckpoint& checkpoint, const std::string& parameter) {
  if (parameter == checkpoint::kBackboneCodeEmbedding) return checkpoint.code_embeddings.backbone;
  if (parameter == checkpoint::kDepthCodeEmbedding) {
    return checkpoint.code_embeddings.depth_decoder;
  }
  return parameter;
}

CsmForConditionalGeneration LoadModel(const checkpoint::CsmCheckpoint& checkpoint,
                                      torch::ScalarType dtype) {
  if (checkpoint.tensors->HasTransposedHeads()) {
    Fail<ArgumentError>("{} is a GGUF file, made for speaking: train the checkpoint it came from",
                        checkpoint.dir.string());
  }
  return LoadForSpeaking(checkpoint, dtype);
}

CsmForConditionalGeneration LoadForSpeaking(const checkpoint::CsmCheckpoint& checkpoint,
                                            torch::ScalarType dtype) {
  CsmConfig config = checkpoint.config;
  // As transformers does: what the config ties is yet two tables if a checkpoint holds two.
  config.tie_codebooks_embeddings =
      checkpoint.code_embeddings.backbone == checkpoint.code_embeddings.depth_decoder;
  CsmForConditionalGeneration model(config);
  const torch::NoGradGuard no_grad;
  model->to(dtype);  // holds nothing yet
  for (auto& item : model->named_parameters()) {
    const std::string name = StoredName(checkpoint, item.key());
    const checkpoint::TensorView* stored = checkpoint.tensors->Find(name);
    if (checkpoint.tensors->FindTerm(name) != nullptr) {
      Fail<ArgumentError>(
          "an adapter goes into weights that are not quantized on this device, and {} is: use the "
          "checkpoint that it was made of",
          name);
    }
    const bool is_transposed =
        item.key() == checkpoint::kCodebooksHead && checkpoint.tensors->HasTransposedHeads();
    torch::Tensor values = item.value();
    if (is_transposed) {
      values = torch::empty({values.size(0), values.size(2), values.size(1)}, values.options());
    }
    checkpoint::ConvertElements(*stored, 0, checkpoint::NumElements(*stored), values.data_ptr(),
                                Counterpart(dtype));
    if (is_transposed) item.value().copy_(values.transpose(1, 2));
    checkpoint.tensors->Release(*stored);
  }
  return model;
}

void CopyStored(const checkpoint::TensorStore& store, const std::string& name,
                const torch::Tensor& to) {
  const checkpoint::TensorView* stored = store.Find(name);
  if (stored == nullptr) Fail<FormatError>("{} holds no {}", store.path().string(), name);
  if (!stored->other_dtype.empty() || stored->dtype != DType::kF32 ||
      stored->shape != to.sizes().vec() || stored->bytes.size() != to.nbytes()) {
    Fail<FormatError>("{} does not fit this run: {} should be F32 of shape [{}]",
                      store.path().string(), name, fmt::join(to.sizes().vec(), ", "));
  }
  const torch::Tensor values = torch::empty(to.sizes());
  std::memcpy(values.data_ptr(), stored->bytes.data(), stored->bytes.size());
  to.copy_(values);
}

void Freeze(CsmForConditionalGeneration& model, const std::string& pattern) {
  if (pattern.empty()) return;
  const std::regex expression(pattern);
  bool any_frozen = false, any_left = false;
  for (auto& item : model->named_parameters()) {
    if (std::regex_search(item.key(), expression)) {
      item.value().set_requires_grad(false);
      any_frozen = true;
    }
    any_left = any_left || item.value().requires_grad();
  }
  if (!any_frozen) Fail<ArgumentError>("freeze: no parameter's name matches '{}'", pattern);
  if (!any_left) Fail<ArgumentError>("freeze: '{}' leaves nothing to learn", pattern);
}

bool IsFinite(const CsmForConditionalGeneration& model) {
  const torch::NoGradGuard no_grad;
  for (const auto& item : model->named_parameters()) {
    if (item.value().requires_grad() && !torch::isfinite(item.value()).all().item<bool>()) {
      return false;
    }
  }
  return true;
}

}  // namespace csm::train
