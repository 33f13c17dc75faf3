# The other dependencies, from the system's packages (scripts/setup.sh installs them).
find_package(CLI11 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(spdlog REQUIRED)
find_package(ZLIB REQUIRED)
find_package(HWY REQUIRED)
find_package(GTest REQUIRED)
find_package(benchmark REQUIRED)
