#pragma once

#include <string_view>

namespace sgdscope {

/// The commit that last changed what this program is compiled of, as git abbreviates it; with "+" behind it where changes lay
/// there that no commit held, and "unknown" where the sources were no git repository. src/core/commit.cmake finds it at each build.
std::string_view Commit();

}  // namespace sgdscope
