#!/usr/bin/env bash
# Builds the client; usage: build.sh FOLDER. Takes the released candle-transformers and removes the slice by which its llama.rs gives logits of the last
# token alone, so that all tokens' log-probabilities can be asked for.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=0.11.1
mkdir -p "$1"
cp -r "$here/src" "$here/Cargo.toml" "$1/"
cd "$1"
if [ ! -d candle-transformers ]; then
    # A throw-away package makes cargo fetch the crate.
    mkdir -p fetch/src
    echo > fetch/src/lib.rs
    printf '[package]\nname = "fetch"\nversion = "0.1.0"\n[dependencies]\ncandle-transformers = "=%s"\n[workspace]\n' "$version" > fetch/Cargo.toml
    (cd fetch && cargo fetch)
    cp -r "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/candle-transformers-"$version" candle-transformers
    slice='let x = x.i((.., seq_len - 1, ..))?.contiguous()?;'
    grep -qF "$slice" candle-transformers/src/models/llama.rs
    grep -vF "$slice" candle-transformers/src/models/llama.rs > llama.rs
    mv llama.rs candle-transformers/src/models/llama.rs
fi
RUSTFLAGS="-C target-cpu=native" cargo build --release
echo "$1/target/release/candle-peer"
