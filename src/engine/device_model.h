// The stacks of a model on another device than the processor; `LoadOptions::device` names it.
#ifndef CSM_ENGINE_DEVICE_MODEL_H_
#define CSM_ENGINE_DEVICE_MODEL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "checkpoint/model_dir.h"
#include "csm/csm.hpp"
#include "engine/frame_decoder.h"
#include "engine/frame_stepper.h"

namespace csm::engine {

/// Immutable but for what it keeps ready for the next call; shared by threads.
class DeviceModel {
 public:
  DeviceModel() = default;
  DeviceModel(const DeviceModel&) = delete;
  DeviceModel& operator=(const DeviceModel&) = delete;
  virtual ~DeviceModel() = default;

  /// What one call of generate() asks for.
  struct Call {
    const GenerationConfig& config;
    const GenerateCallbacks& callbacks;
    int64_t num_sequences = 1;
    int64_t num_positions = 1;  ///< of the longest: prompt and frames
  };
  /// `call`'s references must outlive it.
  virtual std::unique_ptr<FrameStepper> NewStepper(const Call& call) const = 0;

  /// The codec's decoder for as many sequences.
  virtual std::unique_ptr<FrameDecoder> NewDecoder(int64_t num_sequences) const = 0;

  /// What it is, for people: "NVIDIA H200".
  virtual std::string Name() const = 0;
  virtual DType dtype() const = 0;  ///< of the weights there
  /// What the device can do, measured: bytes read a second, and multiply-adds a second of products
  /// in dtype().
  virtual double MeasureReadBandwidth() const = 0;
  virtual double MeasureMulAddRate() const = 0;
};

/// Whether a device is the processor, by this library's own kernels.
inline bool IsOwnKernels(const std::string& device) { return device == "cpu"; }

/// Loads libcsm_train.so, which knows other devices, and the model's stacks on `options.device`.
/// Throws ArgumentError for a name that is no device's, Error if it cannot be used here.
std::shared_ptr<const DeviceModel> LoadDeviceModel(const checkpoint::CsmCheckpoint& checkpoint,
                                                   const LoadOptions& options);

/// Of the csm that calls: what it passes must have the layout that libcsm_train.so knows.
struct BuildStamp {
  explicit BuildStamp(const char* csm_version) : version(csm_version) {}
  std::string version;
  int interface = 2;  ///< to be raised with every change of a virtual function that both know
  size_t sizes[7] = {
      sizeof(LoadOptions),         sizeof(checkpoint::CsmCheckpoint), sizeof(Sequence),
      sizeof(GenerationConfig),    sizeof(GenerateCallbacks),         sizeof(GenerateTimes),
      sizeof(FrameDecoder::Frames)};
  bool operator==(const BuildStamp&) const = default;
};

/// What libcsm_train.so exports, by this name: the same, to be owned by the caller.
using LoadDeviceModelFunction = const DeviceModel*(const BuildStamp& stamp,
                                                   const checkpoint::CsmCheckpoint& checkpoint,
                                                   const LoadOptions& options);
inline constexpr const char* kLoadDeviceModelName = "csm_load_device_model";

}  // namespace csm::engine

#endif  // CSM_ENGINE_DEVICE_MODEL_H_
