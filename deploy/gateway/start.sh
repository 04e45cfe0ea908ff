#!/bin/sh
# Puts the environment's values into envoy.yaml, beside this script, and becomes Envoy; arguments are passed on.
# Only sh, sed and mktemp, because Envoy's image has little more. README.md lists the variables.
set -eu
export LC_ALL=C
umask 077

port='[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]'
host='[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?'
origin='[a-z][a-z0-9+.-]*://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?'
newline='
'
edits=

refuse() {
    printf 'gateway: %s\n' "$1" >&2
    exit 64
}

# fits VALUE PATTERN: the whole value, on one line. Every value is asked, because what goes into the
# configuration unasked could rewrite it.
fits() {
    case $1 in *"$newline"*) return 1 ;; esac
    [ -n "$(printf '%s\n' "$1" | sed -nE "\\#^($2)\$#p")" ]
}

# put NAME VALUE: no pattern below lets through a character that means something to sed.
put() { edits="$edits${newline}s#\\\${$1}#$2#g"; }

# fill NAME DEFAULT PATTERN MEANING
fill() {
    eval "value=\${$1:-\$2}"
    # Kubernetes sets AUTH_PORT=tcp://... and the like in every pod, for each Service it knows.
    case $value in tcp://*) value=$2 ;; esac
    fits "$value" "$3" || refuse "$1 must be $4; it is '$value'."
    put "$1" "$value"
}

# section NAME CONDITION...: leave the part of that name out unless the condition holds.
section() {
    name=$1
    shift
    "$@" || edits="$edits${newline}/# if $name\$/,/# end $name\$/d"
}

origins() {
    set -f
    IFS=,
    for entry in ${ALLOWED_ORIGINS:-}; do
        entry=$(printf '%s' "$entry" | sed 's/^ *//; s/ *$//')
        [ -n "$entry" ] || continue
        fits "$entry" "$origin" || refuse "ALLOWED_ORIGINS must be exact origins such as https://app.example.com, \
in lower case, without a path, separated by commas; '$entry' is none."
        printf '{exact: "%s"}, ' "$entry"
    done
}

fill GATEWAY_ADDRESS 0.0.0.0 '[A-Za-z0-9:][A-Za-z0-9.:-]*' 'an address to listen on'
fill GATEWAY_PORT 8000 "$port" 'a port'
fill GATEWAY_ADMIN_PORT 9901 "$port" 'a port'
fill AUTH_ADDRESS auth "$host" 'a host name or an IPv4 address'
fill AUTH_PORT 8000 "$port" 'a port'
fill CHAT_AGENT_ADDRESS chat-agent "$host" 'a host name or an IPv4 address'
fill CHAT_AGENT_PORT 8000 "$port" 'a port'
section CHAT_AGENT_2_PORT [ -n "${CHAT_AGENT_2_PORT:-}" ]
fill CHAT_AGENT_2_ADDRESS chat-agent-2 "$host" 'a host name or an IPv4 address'
fill CHAT_AGENT_2_PORT 8000 "$port" 'a port'
fill CONVERSATION_ADDRESS conversation "$host" 'a host name or an IPv4 address'
fill CONVERSATION_PORT 8000 "$port" 'a port'
fill BILLING_WEBHOOK_ADDRESS billing-webhook "$host" 'a host name or an IPv4 address'
fill BILLING_WEBHOOK_PORT 8000 "$port" 'a port'
fill NOTIFICATION_ADDRESS notification "$host" 'a host name or an IPv4 address'
fill NOTIFICATION_PORT 8000 "$port" 'a port'
fill AUTH_ISSUER '' '[A-Za-z0-9][A-Za-z0-9._~:/@-]*' 'set to the issuer that auth writes into its tokens'
fill TRUSTED_HOPS 0 '[0-9]{1,2}' 'the number of proxies in front of the gateway'
fill GATEWAY_TIMEOUT_SECONDS 15 '[1-9][0-9]{0,3}' 'a whole number of seconds'
fill GATEWAY_AUTH_RATE_PER_MINUTE 600 '[1-9][0-9]{0,5}' 'a whole number'
put AUTH_RETRY_AFTER $(((60 + value - 1) / value))
fill GATEWAY_TRACE_PERCENT 100 '100|[0-9]{1,2}(\.[0-9]+)?' 'a number from 0 to 100'
fill GATEWAY_CONCURRENCY 2 '[1-9][0-9]{0,2}' 'a number of threads'
concurrency=$value
fill GATEWAY_MAX_HEAP_MIB 192 '[1-9][0-9]{1,5}' 'a whole number of MiB, at least 10'
put GATEWAY_MAX_HEAP_BYTES $((value * 1024 * 1024))

allowed=$(origins)
put ORIGINS "$allowed"

case ${GATEWAY_HSTS:=false} in true | false) ;; *) refuse "GATEWAY_HSTS must be true or false; it is '$GATEWAY_HSTS'." ;; esac
section GATEWAY_HSTS [ "$GATEWAY_HSTS" = true ]

section GATEWAY_INTERNAL_PORT [ -n "${GATEWAY_INTERNAL_PORT:-}" ]
fill GATEWAY_INTERNAL_PORT 9000 "$port" 'a port'

collector=${OTEL_EXPORTER_OTLP_ENDPOINT:-}
section OTEL_EXPORTER_OTLP_ENDPOINT [ -n "$collector" ]
if [ -n "$collector" ]; then
    fits "$collector" "http://($host):($port)/?" || refuse "OTEL_EXPORTER_OTLP_ENDPOINT must be the collector's \
OTLP/HTTP address, such as http://collector:4318; it is '$collector'."
    collector=${collector#http://}
    collector=${collector%/}
else
    collector=nowhere:4318
    # Envoy would complain of every batch of spans that it cannot send.
    set -- --component-log-level tracing:critical "$@"
fi
put COLLECTOR_ADDRESS "${collector%:*}"
put COLLECTOR_PORT "${collector#*:}"

out=${GATEWAY_CONFIG_OUT:-$(mktemp -d)/envoy.yaml}
sed "$edits" "$(dirname "$0")/envoy.yaml" >"$out"
# No hot restart: it shares memory between all Envoys of a machine.
exec "${ENVOY:-envoy}" --config-path "$out" --concurrency "$concurrency" --disable-hot-restart \
    --log-level warning --file-flush-interval-msec 1000 "$@"
