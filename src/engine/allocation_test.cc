// That a frame's codes are computed without an allocation of the thread that asks for them, while
// the KV cache has room. (What a worker of the pool keeps, it allocates at its first task.)
// Replaces operator new of this whole test program.
#include <gtest/gtest.h>

#include <cstdlib>
#include <new>

#include "engine/cpu_stepper.h"
#include "engine/csm_model.h"
#include "engine/golden_case.h"

// Sanitizers have operators of their own, which must not meet these.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CSM_HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CSM_HAS_SANITIZER 1
#endif
#endif

#ifndef CSM_HAS_SANITIZER
namespace {

thread_local int64_t num_allocations = 0;

void* Allocate(std::size_t size) {
  ++num_allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return Allocate(size); }
void* operator new[](std::size_t size) { return Allocate(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace csm::engine {
namespace {

struct Case {
  std::string name;
  std::optional<DType> dtype;
  std::optional<Precision> precision = std::nullopt;
};

class AllocationTest : public ::testing::TestWithParam<Case> {};

// All that can be on in the samplers at once.
GenerationConfig EveryWarper(const CsmForConditionalGeneration& model) {
  GenerationConfig config = Sampling(model, 10);
  for (SamplingConfig* sampling : {static_cast<SamplingConfig*>(&config),
                                   static_cast<SamplingConfig*>(&config.depth_decoder)}) {
    sampling->temperature = 0.9;
    sampling->top_h = 0.9;
    sampling->top_k = 9;
    sampling->top_p = 0.95;
    sampling->min_p = 0.01;
    sampling->typical_p = 0.95;
    sampling->epsilon_cutoff = 1e-3;
    sampling->eta_cutoff = 1e-3;
  }
  return config;
}

std::vector<Sequence> NewSequences(size_t count, const CsmConfig& model, int64_t max_frames) {
  std::vector<Sequence> sequences(count);
  for (Sequence& sequence : sequences) {
    sequence.max_frames = max_frames;
    sequence.codes.num_codebooks = static_cast<int>(model.num_codebooks);
    sequence.codes.data.reserve(static_cast<size_t>(max_frames * model.num_codebooks));
  }
  return sequences;
}

TEST_P(AllocationTest, FramesAfterTheFirstAllocateNothing) {
  const auto model = CsmForConditionalGeneration::from_pretrained(
      GoldenModel("random-tiny"),
      {.dtype = GetParam().dtype, .precision = GetParam().precision, .runtime = Runtime(2)});
  const CsmConfig& config = model.config();
  const GenerationConfig sampling = EveryWarper(model);
  const GenerateCallbacks callbacks;
  const StepOptions options{sampling, callbacks, /*seed=*/1};
  std::vector<Sequence> sequences = NewSequences(3, config, 10);
  std::vector<Sequence*> active;
  for (Sequence& sequence : sequences) active.push_back(&sequence);
  Matrix prompt(4, config.hidden_size);
  for (size_t i = 0; i < prompt.data.size(); ++i)
    prompt.data[i] = 0.01F * static_cast<float>(i % 7);
  const std::vector<const Matrix*> prompts(active.size(), &prompt);

  CpuStepper stepper(*model.impl().backbone(), *model.impl().depth_decoder());
  stepper.Prefill(active, prompts, nullptr);
  stepper.NextFrame(active, options);
  stepper.Advance(active);
  const int64_t before = num_allocations;
  ASSERT_GT(before, 0);  // they are counted
  for (int frame = 1; frame < 6; ++frame) {
    stepper.NextFrame(active, options);
    stepper.Advance(active);
  }
  EXPECT_EQ(num_allocations - before, 0);
}

INSTANTIATE_TEST_SUITE_P(Types, AllocationTest,
                         ::testing::Values(Case{"stored", std::nullopt},
                                           Case{"bf16_fast", DType::kBF16, Precision::kFast},
                                           Case{"q8_0", DType::kQ8_0}, Case{"q4", DType::kQ4}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace csm::engine
#endif  // CSM_HAS_SANITIZER
