# Writes the source file of Commit() (commit.h), if it would be another one: cmake -DOUT=FILE -P src/core/commit.cmake, in the
# folder of the sources.

set(COMPILED src third_party CMakeLists.txt CMakePresets.json)

function(git out) # git(OUT ARGUMENT...): what git prints; unset where it fails or there is none
  execute_process(COMMAND git ${ARGN} OUTPUT_VARIABLE printed RESULT_VARIABLE status ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(status EQUAL 0)
    set(${out} "${printed}" PARENT_SCOPE)
  endif()
endfunction()

set(commit unknown)
git(prefix rev-parse --show-prefix)
if(DEFINED prefix AND prefix STREQUAL "") # else the sources lie in another repository
  git(commit log -1 --format=%h -- ${COMPILED})
  git(changes status --porcelain -- ${COMPILED})
  if(changes)
    string(APPEND commit +)
  endif()
endif()

file(CONFIGURE OUTPUT ${OUT} CONTENT [[
#include "core/commit.h"

std::string_view sgdscope::Commit() { return "@commit@"; }
]] @ONLY)
