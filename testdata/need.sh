#!/usr/bin/env bash
# Makes sure that Debian packages are there: installs them as root, else says how.
missing=()
for p in "$@"; do
  case $p in
    softhsm2) ls /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so /usr/lib64/*/libsofthsm2.so >/dev/null 2>&1 || ls /usr/lib*/softhsm/libsofthsm2.so >/dev/null 2>&1 || missing+=("$p") ;;
    postgresql) ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing+=("$p") ;;
    python3-pykmip) /usr/bin/python3 -c 'import kmip' 2>/dev/null || missing+=("$p") ;;
    *) dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'install ok installed' || missing+=("$p") ;;
  esac
done
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null && exit 0
fi
echo "missing: ${missing[*]}. Install with:  sudo apt-get install ${missing[*]}" >&2
exit 1
