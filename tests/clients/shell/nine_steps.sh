#!/usr/bin/env bash
# The software update pattern, step by step, with Debian's MQTT clients and curl:
# `nine_steps.sh FOLDER`, where FOLDER/case.sh says where the server is and who asks.
# A device has one connection at a time: so its subscriptions outlive the connection of each step, in a session (-c) of its name.
set -euo pipefail
# shellcheck source=/dev/null
. "$1/case.sh"
cd "$1"

# Longest wait for a message, in seconds.
patience=20
server=(-h "$host" -p "$mqtt_port" --cafile "$ca" -q 1)
device=("${server[@]}" -i "$device_id" -u "$device_id" -P "$device_token" -c)
application=("${server[@]}" -u "$application_name" -P "$application_token")

fail() { echo "does not hold: $*" >&2; exit 1; }
# The next message to the device's session; empty if none comes.
device_hears() { mosquitto_sub "${device[@]}" -t "state/$device_id/$1" -C 1 -W "$patience" -F '%t %p' || true; }
device_says() { mosquitto_pub "${device[@]}" -t "state/$device_id/$1" -m "$2"; }

# Before the pattern begins: the device reports what it is.
device_says update "{\"state\":{\"reported\":{\"product\":\"$product\",\"version\":\"1.0.0\",\"boot\":1}}}"

# 1. The device subscribes to the difference. -E ends once that is granted; the session stays.
mosquitto_sub "${device[@]}" -t "state/$device_id/update/delta" -E
# 2. The application subscribes to what becomes of it, as all applications may, of any device.
stdbuf --output=L mosquitto_sub "${application[@]}" -t 'state/+/update/accepted' -C 2 -W "$((3 * patience))" -d -F '%t %p' \
  >accepted.txt &
listening=$!
timeout "$patience" bash -c 'until grep -q "^Subscribed" accepted.txt; do sleep 0.05; done' ||
  fail "an application may not listen: $(cat accepted.txt)"
# 3. It publishes the software that it desires.
mosquitto_pub "${application[@]}" -t "state/$device_id/update" \
  -m "{\"state\":{\"desired\":{\"softwareURL\":\"$software_url\"}}}"
# 4, 5. The replica has stored it, and publishes the difference; the device hears it, though it was away.
delta="$(device_hears update/delta)"
[ "${delta%% *}" = "state/$device_id/update/delta" ] || fail "no difference came: '$delta'"
url="$(jq -er .state.softwareURL <<<"${delta#* }")" || fail "no software in the difference: $delta"
job="$(jq -er .state.jobID <<<"${delta#* }")" || fail "no job in the difference: $delta"
# 6. The device downloads by the link that was made for it.
curl --silent --show-error --fail --cacert "$ca" --max-time "$patience" --output image "$url"
[ "$(sha256sum <image | cut -d' ' -f1)" = "$image_sha256" ] || fail "something else was downloaded"
# 7, 8. It applies the software, and acknowledges: $acknowledge_on is `update`, or by an old habit `update/accepted`.
device_says "$acknowledge_on" "jobID:$job SUCCESS"
# 9. The replica has taken both, what was desired and what was acknowledged, and says so to whoever listens.
wait "$listening" || true
[ "$(grep -c "^state/$device_id/update/accepted " accepted.txt)" -eq 2 ] || fail "not accepted: $(cat accepted.txt)"

# What is the state now? The question and its answer travel on one connection.
state="$(mosquitto_rr "${server[@]}" -i "$device_id" -u "$device_id" -P "$device_token" -W "$patience" \
  -t "state/$device_id/get" -e "state/$device_id/get/accepted" -n)"
jq -e '.state.delta.softwareURL == null' <<<"$state" >/dev/null || fail "there is still something to do: $state"
