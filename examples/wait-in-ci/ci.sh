#!/bin/sh
# Start a service, wait until it is connected (and healthy, with a health check), test it, clean up.
set -eu
image=${1:?IMAGE}
shift
name=ci-$$
trap 'hawse rm -f "$name" >/dev/null' EXIT
hawse run -d --name "$name" "$image" sleep 1000 >/dev/null
timeout "${CI_TIMEOUT:-60}" hawse wait --for "${CI_WAIT:-connected}" "$name"
hawse exec "$name" "$@"
