// What this machine can do, measured: the yardsticks of the benchmarks.
#ifndef CSM_KERNELS_MACHINE_H_
#define CSM_KERNELS_MACHINE_H_

#include <cstddef>
#include <span>
#include <string>

#include "base/thread_pool.h"

namespace csm::kernels {

/// Name of the instruction set the kernels use here ("AVX3" is AVX-512).
const char* InstructionSet();

/// What the processor calls itself (on Linux), or "unknown".
std::string ProcessorName();

/// Bytes per second that all threads of the pool together read from memory (not cache): the best
/// of five passes over 1 GiB. Allocates that much and takes about 0.5 s.
double MeasureReadBandwidth(ThreadPool& pool);
/// The same of memory that is there, over and over until it is as much: some memory of a machine
/// may be faster than other. It must be aligned to floats and more than the last cache holds.
double MeasureReadBandwidth(std::span<const std::span<const std::byte>> memory, ThreadPool& pool);

/// Multiply-adds of int8 per second that all threads together do on data in registers, with the
/// instructions of the quantized products; 0 if they are plain loops. About 0.1 s.
double MeasureInt8Rate(ThreadPool& pool);

/// The same of bf16; 0 if the processor does not multiply bf16.
double MeasureBf16Rate(ThreadPool& pool);

/// Multiply-adds of f32 per second that all threads together do on data in registers. About 0.1 s.
double MeasureMulAddRate(ThreadPool& pool);

}  // namespace csm::kernels

#endif  // CSM_KERNELS_MACHINE_H_
