// Where the code that runs was loaded from.
#ifndef CSM_BASE_LIBRARY_FOLDER_H_
#define CSM_BASE_LIBRARY_FOLDER_H_

#include <filesystem>

namespace csm {

/// Of the program or library that holds this function or object; empty if none does.
std::filesystem::path LibraryFolder(const void* address);

}  // namespace csm

#endif  // CSM_BASE_LIBRARY_FOLDER_H_
