#!/bin/sh
# A right driver whose machines are files, and that is wrong in the one way that $WRONG names. Every
# action is a link to it.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
WRONG=$(cat "$here/wrong")
machines=$here/machines
mkdir -p "$machines"
action=${0##*/}

wrong() { [ "$WRONG" = "$1" ]; }

fail() {
    wrong error-on-stdout && [ "$action" = deploy ] && { echo "$1"; exit 255; }
    wrong garbage-block && [ "$action" = deploy ] && { printf 'ERROR MESSAGE --8<------\n%s\n\033[2J' "$1" >&2; exit 255; }
    wrong plain-errors && { echo "$1" >&2; exit 255; }
    printf 'ERROR MESSAGE --8<------\n%s\nERROR MESSAGE ------>8--\n' "$1" >&2
    exit 255
}

parameter() { sed -n "/<PROVISION>/,/<\/PROVISION>/s|.*<$1>\(.*\)</$1>.*|\1|p" "$file"; }

there() {
    case ${1:-} in '' | */*) return 1 ;; esac
    [ -f "$machines/$1" ]
}

find_machine() { there "$1" || fail "machine $1 not found"; }

# A number that no other machine has.
number() {
    if wrong shared-state; then
        last=$(cat "$here/last" 2>/dev/null || echo 0)
        sleep 0.3
        echo $((last + 1)) | tee "$here/last"
        return
    fi
    last=1
    until mkdir "$here/taken-$last" 2>/dev/null; do last=$((last + 1)); done
    echo "$last"
}

tells() {
    [ -e "$1.off" ] && state=d || state=a
    wrong wrong-letter && state=running
    wrong power-off-unseen && state=a
    wrong no-state || printf 'STATE=%s ' "$state"
    wrong never-ready || printf 'GUEST_IP_ADDRESSES="192.0.2.1" '
    printf '\n'
}

# Writes a machine and prints its id.
make() {
    nr=$(number)
    id=m-$nr
    printf 'KEY=%s NAME=%s PROVISION_ID=%s CREATED=%s\n' \
        "${ONEPROVISION_CALL:-none}" "$host" "$(parameter PROVISION_ID)" "$(date +%s)" >"$machines/$id"
    wrong list-without-marks && echo "COLOUR=red" >"$machines/$id"
    echo "$id"
}

deploy() {
    file=${1:-}
    host=${2:-none}
    wrong old-tmp-file && file=$here/deployment.xml
    if [ ! -s "$file" ]; then
        wrong exit-zero && exit 0
        fail "there is no deployment file at $file"
    fi
    wrong secret-on-stderr && cat "$file" >&2
    wrong secret-in-arguments && { token=$(parameter CONFORMANCE_TOKEN); sh -c 'sleep 0.4; :' curl --token "$token"; }
    id=$(parameter DEPLOY_ID)
    if [ -n "$id" ] && ! wrong ignores-deploy-id; then
        if ! there "$id"; then
            wrong revives-what-is-gone || fail "machine $id not found"
            make
            return
        fi
        rm -f "$machines/$id.off"
        wrong resume-fails && fail "it cannot be powered on"
        wrong id-changes && id=$id-again
        echo "$id"
        return
    fi
    if wrong stale-lock; then
        tries=0
        until mkdir "$here/lock" 2>/dev/null; do
            tries=$((tries + 1))
            [ "$tries" -lt 60 ] || fail "another deploy holds the lock"
            sleep 0.1
        done
        sleep 0.5
    fi
    id=$(make)
    case $WRONG in
    no-id) ;;
    two-ids) printf '%s\n%s-too\n' "$id" "$id" ;;
    id-with-blanks) mv "$machines/$id" "$machines/machine $id"; echo "machine $id" ;;
    id-with-newline) printf 'm\n%s\n' "$id" ;;
    id-with-controls) printf '%s\033[0m\n' "$id" ;;
    hangs-in-deploy) sleep 60 ;;
    secret-on-stdout) printf '%s\nmade with %s\n' "$id" "$(parameter CONFORMANCE_TOKEN)" ;;
    fails-after-id) echo "$id"; fail "it did not boot" ;;
    *) echo "$id" ;;
    esac
    wrong stale-lock && rmdir "$here/lock"
    return 0
}

cancel() {
    wrong cancel-fails && fail "the provider says no"
    if ! there "$1"; then
        wrong cancel-of-unknown-fails && fail "internal error 17"
        fail "machine $1 not found"
    fi
    wrong stays-active || rm -f "$machines/$1" "$machines/$1.off"
}

poll() {
    wrong hangs-in-poll && sleep 60
    wrong poll-says-nothing && exit 0
    wrong poll-fails && fail "internal error 17"
    if there "$1"; then
        tells "$machines/$1"
    elif wrong no-state; then
        fail "machine $1 not found"
    else
        echo STATE=d
    fi
}

list() {
    wrong list-fails && fail "internal error 17"
    for path in "$machines"/*; do
        [ -f "$path" ] || continue
        case $path in *.off) continue ;; esac
        wrong lists-what-runs && [ -e "$path.off" ] && continue
        wrong list-with-other-ids && { echo "DEPLOY_ID=x-${path##*/} $(cat "$path")"; continue; }
        echo "DEPLOY_ID=${path##*/} $(cat "$path") $(tells "$path")"
    done
}

case $action in
deploy) deploy "$@" ;;
cancel) cancel "$1" ;;
poll) poll "$1" ;;
reboot | reset)
    find_machine "$1"
    wrong "$action-fails" && fail "internal error 17"
    rm -f "$machines/$1.off"
    ;;
shutdown)
    find_machine "$1"
    wrong shutdown-fails && fail "internal error 17"
    : >"$machines/$1.off"
    ;;
list) list ;;
esac
