#!/usr/bin/env bash
# The shell updater's habits: curl, jq, openssl, and everything as text.
# Usage: updater.sh ENDPOINT TOKEN ID PRODUCT VERSION APPLY [NAME=VALUE...]
endpoint=$1 token=$2 id=$3 product=$4 version=$5 apply=$6
shift 6
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

{
  printf '{\n    "id":"%s",\n    "product":"%s",\n    "version":"%s"' "$id" "$product" "$version"
  for property in "$@"; do printf ',\n    "%s":"%s"' "${property%%=*}" "${property#*=}"; done
  printf '\n}\n'
} >"$folder/request"

say() {
  curl -f -s --max-time 30 -X POST -H "Authorization:$token" -H "Content-Type:application/json" \
    -d "@$folder/request" "$endpoint$1"
}

say /tok/provision/update >"$folder/answer" || { echo "Failed to check for update" >&2; exit 2; }
jq empty <"$folder/answer" || exit 2
# Unquoted: an answer with blanks would be several words.
if [ $(cat "$folder/answer") = "{}" ]; then echo "none"; exit 0; fi
field() { jq -r ".$1" <"$folder/answer"; }
url=$(field url) checksum=$(field checksum) update=$(field update) offered=$(field version)
[ "$url" != null ] || { echo "none"; exit 0; }
for value in "$checksum" "$update" "$offered"; do
  [ "$value" != null ] || { echo "Incomplete update response" >&2; exit 2; }
done
[[ "$url" =~ ^https:// ]] || { echo "Insecure download URL" >&2; exit 2; }

curl -f -s --max-filesize 104857600 --max-time 600 "$url" >"$folder/image" ||
  { echo "Failed to download update" >&2; exit 2; }
found=$(openssl dgst -sha256 "$folder/image" | awk '{print $2}')
[ "$found" = "$checksum" ] || { echo "Checksum does not match" >&2; exit 2; }
# A failure to apply is not reported.
"$apply" "$folder/image" || { echo "Apply update failed" >&2; exit 2; }

printf '{\n    "success":"true",\n    "id":"%s",\n    "update":"%s"\n}\n' "$id" "$update" >"$folder/request"
say /tok/provision/updateReport >/dev/null || echo "Failed to post update report" >&2
echo "updated $offered"
