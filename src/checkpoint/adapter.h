// Low-rank adapters (LoRA) in the format of the peft package: adapter_config.json and
// adapter_model.safetensors.
#ifndef CSM_CHECKPOINT_ADAPTER_H_
#define CSM_CHECKPOINT_ADAPTER_H_

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/model_dir.h"

namespace csm::checkpoint {

inline constexpr char kAdapterTensors[] = "adapter_model.safetensors";
/// Of every tensor's name in it: peft's wrapper of the model.
inline constexpr std::string_view kAdapterPrefix = "base_model.model.";

struct Adapter {
  std::filesystem::path dir;
  std::map<std::string, LowRank, std::less<>> terms;  ///< by the name of the matrix's tensor
};

/// What peft needs to know of an adapter made here.
struct AdapterSettings {
  int64_t rank = 8;
  double alpha = 16;
  double dropout = 0;
  std::vector<std::string> target_modules;  ///< last names of the modules, e.g. "q_proj"
  std::string base_model;                   ///< folder or name
};

/// Reads an adapter folder. Throws FileError or FormatError; also for what is more than low-rank
/// terms (DoRA, trained biases or whole modules), which would otherwise be lost silently.
Adapter ReadAdapter(const std::filesystem::path& dir);

/// Writes an adapter folder that peft loads.
void WriteAdapter(const std::filesystem::path& dir, const AdapterSettings& settings,
                  const std::map<std::string, LowRank, std::less<>>& terms);

/// Copies the two files of an adapter folder into a new one. Throws FileError.
void CopyAdapter(const std::filesystem::path& from, const std::filesystem::path& to);

/// Of the sums: f32, or that of the stored matrix.
enum class SumType { kF32, kStored };

/// The checkpoint with each term added to its matrix, in the values (a sum is computed when the
/// tensor is asked for) or, if these are quantized, beside them (TensorStore::FindTerm). Throws
/// FormatError for a term that fits no matrix of the model.
CsmCheckpoint WithAdapter(CsmCheckpoint checkpoint, const Adapter& adapter,
                          SumType type = SumType::kF32);

}  // namespace csm::checkpoint

#endif  // CSM_CHECKPOINT_ADAPTER_H_
