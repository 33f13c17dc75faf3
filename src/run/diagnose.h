#pragma once

#include <string>

#include "config/json.h"
#include "run/run_record.h"

namespace sgdscope {

/// What there is to say about a run: how far it is, where its time went, what was found
/// (run/findings.h) and what could not be looked at.
std::string DiagnosisText(const RunRecord& run);

/// The same as an object:
///   run, status, reason, steps_done
///   at_work        whether a process may be at work on it
///   seconds        as in the manifest; null if an earlier version made the run
///   findings       [{rule, says, advice, settings: [{path, is, value}]}]
///   not_looked_at  why the network could not be looked at; "" if it was
Json DiagnosisJson(const RunRecord& run);

}  // namespace sgdscope
