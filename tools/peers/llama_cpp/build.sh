#!/usr/bin/env bash
# Builds llama.cpp and the client; usage: build.sh FOLDER. The tree is that of the source distribution of llama-cpp-python (PyPI). Needs a C++ compiler
# and Python; takes cmake and ninja from PyPI.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=0.3.36
mkdir -p "$1"
cd "$1"
[ -d tools ] || python3 -m venv tools
tools/bin/pip install -q cmake ninja scikit-build-core
export PATH="$PWD/tools/bin:$PATH"
if [ ! -d tree ]; then
    pip download --no-deps --no-binary :all: --no-build-isolation -d . "llama-cpp-python==$version"
    mkdir tree
    tar xzf "llama_cpp_python-$version.tar.gz" -C tree --strip-components=1
fi
source=tree/vendor/llama.cpp
cmake -G Ninja -S "$source" -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_UI=OFF
ninja -C build llama
libraries=(build/src/libllama.a build/ggml/src/libggml.a build/ggml/src/libggml-cpu.a build/ggml/src/libggml-base.a)
c++ -std=c++17 -O3 -march=native -ffast-math -I "$source/include" -I "$source/ggml/include" "$here/client.cpp" "${libraries[@]}" -fopenmp -lpthread -ldl -lm \
    -o llama-peer
echo "$PWD/llama-peer"
