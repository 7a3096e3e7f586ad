#!/bin/sh
# Makes web/icons/ from web/icon.svg, with a headless Chromium: sh web/make-icons.sh
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p icons

# name, pixels, share of the picture that the mark takes (a maskable icon is cut to any shape), ground behind it
icon() {
  sed 's|<svg |<svg style="width:'"$3"'" |' icon.svg > "$work/icon.svg"
  { printf '<!doctype html><style>body{margin:0;height:100vh;display:grid;place-items:center;background:%s}</style>' "$4"
    cat "$work/icon.svg"; } > "$work/icon.html"
  "${TERNARY_CHROMIUM:-chromium}" --headless --no-sandbox --hide-scrollbars --default-background-color=00000000 \
    --user-data-dir="$work/profile" --window-size="$2,$2" --screenshot="$work/icon.png" "file://$work/icon.html" 2>/dev/null
  mv "$work/icon.png" "icons/$1.png"
}

icon icon-180 180 100% '#1d4f4a'
icon icon-192 192 100% transparent
icon icon-512 512 100% transparent
icon icon-maskable-512 512 75% '#1d4f4a'
