#include "checkpoint/quantize_checkpoint.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "checkpoint/csm_tensors.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_types.h"
#include "checkpoint/json_file.h"
#include "checkpoint/model_card.h"
#include "checkpoint/tensor_values.h"
#include "kernels/elementwise.h"
#include "kernels/packed.h"

namespace csm::checkpoint {
namespace {

// Weights held at a time, as f32 and in their new form.
constexpr size_t kChunkWeights = size_t{1} << 20;

// A tensor as rows of weights: the last dimension of the new file's shape is a row.
struct Source {
  const TensorView* tensor;
  std::vector<int64_t> shape;  ///< in the new file
  DType dtype;                 ///< there
  bool transpose;              ///< the last two dimensions
  bool stays_wide = false;

  size_t cols() const { return static_cast<size_t>(shape.back()); }
  size_t rows() const { return NumElements(*tensor) / cols(); }
  uint64_t num_bytes() const { return rows() * kernels::StoredRowBytes(dtype, cols()); }
};

// Row `row` of the new shape as f32.
void LoadRow(const Source& source, size_t row, float* out) {
  const size_t cols = source.cols();
  if (!source.transpose) {
    return ConvertElements(*source.tensor, row * cols, cols, out, DType::kF32);
  }
  const auto rows_per_matrix = static_cast<size_t>(source.shape[source.shape.size() - 2]);
  const size_t matrix = row / rows_per_matrix, r = row % rows_per_matrix;
  for (size_t c = 0; c < cols; ++c) {
    const size_t element = (matrix * cols + c) * rows_per_matrix + r;
    ConvertElements(*source.tensor, element, 1, out + c, DType::kF32);
  }
}

/// Converts one tensor, and sums what that changes.
class TensorConverter {
 public:
  TensorConverter(const Source& source, const TensorStore& store, ThreadPool& pool)
      : source_(source), store_(store), pool_(pool) {}

  /// `on_chunk` is told how many stored bytes have been read.
  void WriteTo(const std::function<void(std::span<const std::byte>)>& sink,
               const std::function<void(int64_t bytes)>& on_chunk) {
    const size_t cols = source_.cols(), rows = source_.rows();
    const size_t row_bytes = kernels::StoredRowBytes(source_.dtype, cols);
    const size_t step = std::max<size_t>(kChunkWeights / cols, 1);
    // All that the tasks need: they may not fail to get memory.
    std::vector<float> values(step * cols), back(step * cols);
    std::vector<std::byte> bytes(step * row_bytes);
    std::vector<double> errors(step), norms(step);
    for (size_t begin = 0; begin < rows; begin += step) {
      const size_t count = std::min(step, rows - begin);
      for (size_t i = 0; i < count; ++i) LoadRow(source_, begin + i, values.data() + i * cols);
      pool_.ParallelFor(count, [&](size_t i) {
        ConvertRow(values.data() + i * cols, bytes.data() + i * row_bytes, back.data() + i * cols,
                   errors[i], norms[i]);
      });
      for (size_t i = 0; i < count; ++i) {
        error_ += errors[i];
        norm_ += norms[i];
      }
      sink({bytes.data(), count * row_bytes});
      ReleaseUpTo(begin + count);
      on_chunk(static_cast<int64_t>(count * cols * kernels::SizeOf(source_.tensor->dtype)));
    }
  }

  double relative_error() const { return norm_ > 0 ? std::sqrt(error_ / norm_) : 0; }

 private:
  void ConvertRow(const float* row, std::byte* to, float* back, double& error, double& norm) const {
    const size_t cols = source_.cols();
    if (kernels::IsQuantized(source_.dtype)) {
      kernels::QuantizeBlocks(row, cols, source_.dtype, to);
      kernels::DequantizeBlocks(to, cols, source_.dtype, back);
    } else {
      kernels::Convert(row, DType::kF32, to, source_.dtype, cols);
      kernels::Convert(to, source_.dtype, back, DType::kF32, cols);
    }
    error = norm = 0;
    for (size_t i = 0; i < cols; ++i) {
      const double difference = double{back[i]} - row[i];
      error += difference * difference;
      norm += double{row[i]} * row[i];
    }
  }

  // Of a transposed tensor, whole matrices are done only.
  void ReleaseUpTo(size_t row) const {
    if (source_.transpose) {
      const auto rows_per_matrix = static_cast<size_t>(source_.shape[source_.shape.size() - 2]);
      row = row / rows_per_matrix * rows_per_matrix;
    }
    TensorView done = *source_.tensor;
    done.bytes = done.bytes.first(row * source_.cols() * kernels::SizeOf(done.dtype));
    store_.Release(done);
  }

  const Source& source_;
  const TensorStore& store_;
  ThreadPool& pool_;
  double error_ = 0;
  double norm_ = 0;
};

Source MakeSource(const TensorView& tensor, DType dtype) {
  Source source{&tensor, tensor.shape, tensor.dtype, tensor.name == kCodebooksHead};
  if (source.transpose) std::swap(source.shape[1], source.shape[2]);
  if (source.shape.empty()) source.shape = {1};
  if (kernels::IsQuantized(dtype) && IsCodecDecoderMatrix(tensor)) source.dtype = DType::kF16;
  if (!IsModelMatrix(tensor)) return source;
  source.dtype = MatrixType(tensor.dtype, dtype, source.cols());
  source.stays_wide = source.dtype != dtype;
  return source;
}

// The tensors that transformers would save, in the order of their names.
std::vector<Source> ChooseTensors(const CsmCheckpoint& checkpoint, DType dtype) {
  std::vector<Source> sources;
  for (const std::string& name : checkpoint.tensors->Names()) {
    if (IsIgnoredTensor(name) || IsSpareEmbedding(checkpoint.code_embeddings, name)) continue;
    sources.push_back(MakeSource(*checkpoint.tensors->Find(name), dtype));
  }
  return sources;
}

// The folder's name; of "DIR/" and ".", too.
std::string ModelName(const std::filesystem::path& dir) {
  std::error_code error;
  return std::filesystem::canonical(dir, error).filename().string();
}

using Strings = std::vector<std::pair<std::string, std::string>>;

// GGUF's keys of a licence, from the model card.
void AddLicence(const std::filesystem::path& dir, Strings& strings) {
  const std::filesystem::path card = dir / "README.md";
  if (!ModelFileExists(card)) return;
  const std::string text = ReadModelFile(card);
  for (const auto& [gguf_key, card_key] : {std::pair{"general.license", "license"},
                                           {"general.license.name", "license_name"},
                                           {"general.license.link", "license_link"}}) {
    if (const auto value = CardValue(text, card_key)) strings.emplace_back(gguf_key, *value);
  }
}

Strings Metadata(const CsmCheckpoint& checkpoint, DType dtype) {
  Strings strings = {
      {"general.architecture", "csm"},          {"general.name", ModelName(checkpoint.dir)},
      {"general.quantized_by", "csm quantize"}, {"csm.matrix_type", GgufTypeOf(dtype).name},
      {kGgufHeadLayoutKey, kGgufHeadLayout},
  };
  for (const char* name :
       {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "processor_config.json", "preprocessor_config.json", "LICENSE", "LICENSE.txt", "LICENSE.md",
        "NOTICE", "NOTICE.txt"}) {
    const std::filesystem::path file = checkpoint.dir / name;
    if (ModelFileExists(file)) strings.emplace_back(GgufKeyOf(name), ReadModelFile(file));
  }
  AddLicence(checkpoint.dir, strings);
  return strings;
}

}  // namespace

std::vector<QuantizedTensor> QuantizeCheckpoint(const CsmCheckpoint& checkpoint, DType dtype,
                                                const std::filesystem::path& output,
                                                ThreadPool& pool, const ByteProgress& progress) {
  if (checkpoint.tensors->HasTransposedHeads()) {
    Fail<ArgumentError>("{} is a GGUF file already: quantize the checkpoint that it was made from",
                        checkpoint.dir.string());
  }
  const std::vector<Source> sources = ChooseTensors(checkpoint, dtype);
  std::vector<QuantizedTensor> results(sources.size());
  std::vector<GgufTensor> tensors;
  int64_t total = 0, done = 0;
  for (const Source& source : sources) total += std::ssize(source.tensor->bytes);
  for (size_t i = 0; i < sources.size(); ++i) {
    const Source& source = sources[i];
    const auto write = [&, i](const std::function<void(std::span<const std::byte>)>& sink) {
      TensorConverter converter(sources[i], *checkpoint.tensors, pool);
      converter.WriteTo(sink, [&](int64_t bytes) { progress(done += bytes, total); });
      results[i].relative_error = converter.relative_error();
    };
    results[i] = {source.tensor->name,
                  source.dtype,
                  static_cast<int64_t>(NumElements(*source.tensor)),
                  static_cast<int64_t>(source.num_bytes()),
                  static_cast<int64_t>(source.cols()),
                  source.stays_wide};
    tensors.push_back({source.tensor->name, source.shape, source.dtype, source.num_bytes(), write});
  }
  WriteGguf(output, Metadata(checkpoint, dtype), tensors);
  return results;
}

}  // namespace csm::checkpoint
