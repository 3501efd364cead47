# `cmake --install` and find_package(csm): filled by the install rules of the library.
