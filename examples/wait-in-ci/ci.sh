#!/bin/sh
# Start a service, wait until it can be used, test it from inside, clean up.
#     ci.sh IMAGE COMMAND [ARGUMENT...]
set -eu
image=${1:?IMAGE}
shift
name=ci-$$
trap 'hawse rm -f "$name" >/dev/null' EXIT
# CI_RUN may have more flags of `hawse run`; it is meant to be split into words.
hawse run -d --name "$name" ${CI_RUN:-} "$image" >/dev/null
hawse wait --for "${CI_WAIT:-healthy}" --timeout "${CI_TIMEOUT:-60s}" "$name" || {
    hawse logs "$name" >&2
    exit 1
}
hawse exec "$name" "$@"
