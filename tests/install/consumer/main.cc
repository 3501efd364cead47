// A program outside the source tree: compiles against the installed header alone, links to the
// installed library, computes with it and catches its exceptions across the library's border.
#include <csm/csm.hpp>
#include <iostream>

int main() {
  if (csm::Runtime(2).num_threads() != 2) {
    std::cerr << "Runtime(2) does not have 2 threads\n";
    return 1;
  }
  try {
    csm::CsmConfig::from_pretrained("/nonexistent/model");
  } catch (const csm::FileError& error) {
    std::cout << "caught: " << error.what() << "\n";
    return 0;
  }
  std::cerr << "a missing folder was not an error\n";
  return 1;
}
