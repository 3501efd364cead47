// libcsm_cuda.so: a library of its own, since what it needs of CUDA is not there on most machines.
#ifndef CSM_TORCH_CUDA_LIBRARY_H_
#define CSM_TORCH_CUDA_LIBRARY_H_

namespace csm::train {

/// What the library exports by this name. Throws Error if it, or CUDA's own, cannot be loaded.
void* FindInCudaLibrary(const char* name);

template <typename Function>
Function* FindInCudaLibrary(const char* name) {
  return reinterpret_cast<Function*>(FindInCudaLibrary(name));
}

}  // namespace csm::train

#endif  // CSM_TORCH_CUDA_LIBRARY_H_
