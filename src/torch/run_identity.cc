#include "torch/run_identity.h"

#include <fmt/format.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/hash.h"

namespace csm::train {
namespace {

// What tells one dataset from another.
std::string HashOf(std::span<const Sample> samples) {
  Hash hash;
  const auto add = [&](const std::vector<int32_t>& values) {
    hash.Add(values.size());
    hash.Add(std::as_bytes(std::span(values)));
  };
  for (const Sample& sample : samples) {
    add(sample.input_ids);
    add(sample.labels);
    add(sample.frames.data);
  }
  return fmt::format("{} conversations, {:016x}", samples.size(), hash.state());
}

// What tells the weights that an adapter is for from others.
std::string HashOf(const checkpoint::TensorStore& tensors) {
  Hash hash;
  for (const std::string& name : tensors.Names()) {
    const checkpoint::TensorView* tensor = tensors.Find(name);
    hash.Add(name);
    hash.AddSamples(tensor->bytes);
  }
  return fmt::format("{:016x}", hash.state());
}

}  // namespace

Json RunIdentity(const TrainOptions& options, const StepSampler& sampler,
                 const checkpoint::CsmCheckpoint& base) {
  Json json;
  TrainOptions::visit_fields(
      options, [&](std::string_view name, const auto& value) { json[std::string(name)] = value; });
  json["data"] = HashOf(sampler.samples());
  json["total_train_batch_size"] = sampler.batch_size();
  json["base"] = options.has_adapter() ? HashOf(*base.tensors) : "";
  return json;
}

}  // namespace csm::train
