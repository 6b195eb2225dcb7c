#!/usr/bin/env bash
# What the build needs beyond cargo, installed once per machine; says what it does and why.
#
#   tools/deps.sh            installs what is missing, compiles the RocksDB library into the cache
#   tools/deps.sh --print    prints the directory of the RocksDB library (the Makefile asks)
#
# RocksDB takes ten minutes to compile on two cores. It is therefore compiled once, outside the tree, and
# found by ROCKSDB_LIB_DIR from then on: profiles, flags and clean clones do not pay again.
set -euo pipefail

ROCKSDB_CRATE=0.25.0
cache=${WEIR_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/weir}
lib=$cache/rocksdb-$ROCKSDB_CRATE

if [ "${1:-}" = --print ]; then echo "$lib"; exit; fi

say() { echo "deps: $*" >&2; }

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

has_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return
  compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null || compgen -G '/usr/lib/*/libclang.so*' >/dev/null \
    || compgen -G '/usr/lib/*/libclang-[0-9]*' >/dev/null
}

system_packages() {
  local want=()
  command -v cc >/dev/null && command -v c++ >/dev/null && command -v make >/dev/null \
    || want+=(build-essential)                     # RocksDB is C++, zstd and the TLS library are C
  has_libclang || want+=(libclang-dev)             # the RocksDB binding reads its header with it
  [ "${#want[@]}" = 0 ] && return
  command -v apt-get >/dev/null || { say "please install: ${want[*]} (this is not Debian or Ubuntu)"; exit 1; }
  say "installing ${want[*]}: RocksDB and its binding are compiled with them"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${want[@]}" >&2
}

rocksdb_library() {
  [ -e "$lib/librocksdb.a" ] && return
  say "compiling RocksDB once into $lib (about 10 minutes on 2 cores)"
  local work=$cache/build-rocksdb
  mkdir -p "$work/src"
  cat > "$work/Cargo.toml" <<TOML
[package]
name = "rocksdb-library"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
rocksdb = { version = "=$ROCKSDB_CRATE", default-features = false, features = ["lz4", "bindgen-runtime"] }
[profile.release]
strip = false
TOML
  echo > "$work/src/lib.rs"
  # The library must be compiled, so the variables that say "it exists" must not be seen here.
  env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC -u RUSTFLAGS \
    cargo build --release --manifest-path "$work/Cargo.toml" --target-dir "$work/target" >&2
  local built
  built=$(find "$work/target/release/build" -name librocksdb.a | head -n 1)
  [ -n "$built" ] || { say "cargo built no librocksdb.a"; exit 1; }
  mkdir -p "$lib"
  cp "$built" "$lib/librocksdb.a.new"
  mv "$lib/librocksdb.a.new" "$lib/librocksdb.a"    # whole or not at all
  rm -rf "$work"
}

system_packages
mkdir -p "$cache"
exec 9> "$cache/lock"
flock 9                                            # two builds at once would compile it twice
rocksdb_library
