#pragma once

#include <string>

#include "config/json.h"

namespace sgdscope {

/// Everything that a config can name, with fields: for `list`. `kind`: one of "config", "data",
/// "samplers", "models", "losses", "estimators", "updates", "schedules", "probes"; "" for all.
/// Error kConfig otherwise.
std::string Listing(const std::string& kind);

/// JSON Schema of a whole config.
Json ConfigSchema();

}  // namespace sgdscope
