// Small checkpoints made on the spot, for tests.
#ifndef CSM_CHECKPOINT_TEST_FILES_H_
#define CSM_CHECKPOINT_TEST_FILES_H_

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "base/temporary_folder.h"
#include "checkpoint/config_writer.h"
#include "checkpoint/csm_tensors.h"
#include "csm/csm.hpp"

namespace csm::checkpoint {

inline void WriteText(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary)
      .write(text.data(), static_cast<std::streamsize>(text.size()));
}

/// The bytes of a safetensors file with this header, as it is, and data.
inline std::string Safetensors(const std::string& header, const std::string& data) {
  std::string file;
  for (size_t i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i));
  return file + header + data;
}

struct StoredTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

inline std::string Safetensors(const std::vector<StoredTensor>& tensors) {
  std::string header = "{";
  std::string data;
  for (const StoredTensor& tensor : tensors) {
    header +=
        fmt::format(R"({}"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                    header.size() > 1 ? "," : "", tensor.name, tensor.dtype,
                    fmt::join(tensor.shape, ","), data.size(), data.size() + tensor.bytes.size());
    data += tensor.bytes;
  }
  return Safetensors(header + "}", data);
}

inline std::string FloatBytes(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// A whole model with one or two of everything and every size different from its neighbours.
inline CsmConfig TinyConfig() {
  CsmConfig config;
  config.num_codebooks = 3;
  config.vocab_size = 11;
  config.hidden_size = 12;
  config.intermediate_size = 10;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 1;
  config.head_dim = 4;
  config.text_vocab_size = 9;
  config.audio_token_id = 7;
  config.audio_eos_token_id = 8;
  config.pad_token_id = 7;
  config.bos_token_id = 5;
  config.codebook_pad_token_id = 10;
  CsmDepthDecoderConfig& depth = config.depth_decoder_config;
  depth.num_codebooks = 3;
  depth.vocab_size = 11;
  depth.backbone_hidden_size = 12;
  depth.hidden_size = 6;
  depth.intermediate_size = 7;
  depth.num_hidden_layers = 1;
  depth.num_attention_heads = 3;
  depth.num_key_value_heads = 3;
  depth.head_dim = 2;
  MimiConfig& codec = config.codec_config;
  codec.hidden_size = 8;
  codec.num_filters = 2;
  codec.codebook_size = 8;
  codec.codebook_dim = 4;
  codec.vector_quantization_hidden_dimension = 4;
  codec.num_quantizers = 3;
  codec.upsample_groups = 8;
  codec.num_hidden_layers = 1;
  codec.intermediate_size = 5;
  codec.num_attention_heads = 2;
  codec.num_key_value_heads = 2;
  codec.head_dim = 4;
  return config;
}

/// The tensors of a config in f32, each filled with numbers of its own; the backbone's code
/// embedding is left out when tied, as transformers does.
inline std::vector<StoredTensor> TensorsOf(const CsmConfig& config) {
  std::vector<StoredTensor> tensors;
  float next = 1;
  for (const TensorSpec& spec : CsmTensors(config)) {
    if (config.tie_codebooks_embeddings && spec.name == kBackboneCodeEmbedding) continue;
    int64_t n = 1;
    for (const int64_t dimension : spec.shape) n *= dimension;
    std::vector<float> values(static_cast<size_t>(n));
    std::iota(values.begin(), values.end(), next);
    next += 0.25F;
    tensors.push_back({spec.name, "F32", spec.shape, FloatBytes(values)});
  }
  return tensors;
}

inline void WriteCheckpoint(const std::filesystem::path& dir, const Json& config,
                            const std::vector<StoredTensor>& tensors) {
  WriteText(dir / "config.json", config.dump());
  WriteText(dir / "model.safetensors", Safetensors(tensors));
}

/// The message of the error of type E that `call` throws.
template <typename E, typename Call>
std::string MessageOf(const Call& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_TEST_FILES_H_
