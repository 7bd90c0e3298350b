#!/usr/bin/env bash
# Installs what is missing, then:
#   bash run.sh          runs the service until Ctrl-C: broker (unless one is running), workers, schedule, API
#   bash run.sh setup    exits
#   bash run.sh demo     detects the illustrations of two sample documents, compares them and shows the results
#   bash run.sh test     runs the tests in four processes; further arguments are passed to pytest (-n 0: one process)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The processes of the service connect to each other directly, not through a proxy.
export NO_PROXY="127.0.0.1,localhost,::1${NO_PROXY:+,$NO_PROXY}" no_proxy="127.0.0.1,localhost,::1${no_proxy:+,$no_proxy}"

say() { if [[ -t 1 ]]; then printf '\033[1m▸ %s\033[0m\n' "$*"; else printf '▸ %s\n' "$*"; fi; }
fail() { printf '%s\n' "$*" >&2; exit 1; }

find_python() {
    local name
    for name in python3.12 python3.11 python3.13 python3; do
        if "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    fail "Python 3.11 or later with venv is needed: install python3-venv (Debian 12, Ubuntu 24.04), or python3.11-venv (Ubuntu 22.04)."
}

setup_packages() {
    local wanted stamp=venv/.requirements.sha256
    wanted=$(sha256sum requirements.txt)
    if [[ -x venv/bin/python && -f $stamp && $(<"$stamp") == "$wanted" ]]; then return; fi
    check_stopped
    if [[ ! -x venv/bin/python ]]; then
        local python
        python=$(find_python) || exit 1
        say "Creating a virtual environment in venv/ ($("$python" --version))"
        "$python" -m venv venv
    elif ! venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        fail "venv/ has $(venv/bin/python --version), but Python 3.11 or later is needed: remove venv/, then repeat the command."
    fi
    say "Installing the packages of requirements.txt (about 6 GB with torch; takes a few minutes)"
    venv/bin/python -m pip install --disable-pip-version-check --progress-bar "$([[ -t 1 ]] && echo on || echo off)" \
        -r requirements.txt | { grep --line-buffered -E '^(Collecting|Installing|Successfully)' || true; } | cut -c1-160
    echo "$wanted" > "$stamp"
}

setup_settings() {
    if [[ ! -f .env ]]; then
        say "Creating .env from .env.template: review the settings in it"
        cp .env.template .env
        chmod 600 .env
    fi
}

# The settings as the service reads them: the environment, then .env, then the defaults.
setting() { venv/bin/python -m app.config "$1"; }

setup_key() {
    local flask=(venv/bin/flask --app app.app apps) data apps
    data=$(setting data_folder)
    mkdir -p "${data:?}/logs"
    apps=$("${flask[@]}" list)
    if [[ -z $apps ]]; then
        say "Creating the database and a first client app"
        (umask 077 && "${flask[@]}" add first-app > "$data/api.key")
        echo "  client app:  first-app"
        echo "  API key:     $(<"$data/api.key")"
        echo "  The database stores only a hash. A copy of the key is in $data/api.key: move it to a safe place."
    fi
}

# New packages and tables would not fit the code of a running service.
check_stopped() {
    local data
    data=$(setting data_folder 2>/dev/null) || return 0 # nothing is installed yet, or not all packages
    if [[ -S $data/supervisor.sock ]] && venv/bin/supervisorctl -s "unix://$data/supervisor.sock" pid &>/dev/null; then
        fail "The service is already running (process $(<"$data/supervisor.pid")): stop it first."
    fi
}

setup() {
    check_stopped
    setup_packages
    setup_settings
    setup_key
}

announce() {
    local url=$1 data=$2 key='<your key>' try
    if [[ -f $data/api.key ]]; then key="\$(cat '$data/api.key')"; fi
    for try in $(seq 240); do
        sleep 0.5
        if api_answers "$url"; then
            say "Serving at $url"
            echo "  Try:   curl -X POST -H \"X-API-Key: $key\" -F manifest_url='https://iiif.io/api/cookbook/recipe/0009-book-1/manifest.json' $url/run_detect"
            echo "  Logs:  $data/logs/    Stop: Ctrl-C"
            return
        fi
    done
    echo "The API does not answer at $url: see $data/logs/api.log" >&2
}

api_answers() { venv/bin/python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + "/models", timeout=2)' "$1" 2>/dev/null; }

serve() {
    local broker data host port url
    data=$(setting data_folder)
    host=$(setting api_host)
    port=$(setting api_port)
    if [[ $host == *:* ]]; then host="[$host]"; fi # IPv6
    url="http://$host:$port${SCRIPT_NAME:+/${SCRIPT_NAME#/}}"
    url=${url%/}
    if api_answers "$url"; then fail "Another program is using $url: stop it, or set another API_PORT in .env."; fi
    broker=$(venv/bin/python -m app.workers.broker check)
    say "Starting the workers and the API (broker: $broker$([[ $broker == absent ]] && echo ", starting one"))"
    announce "$url" "$data" &
    ROOT=$PWD BIN=$PWD/venv/bin DATA_FOLDER=$data \
        START_BROKER=$([[ $broker == absent ]] && echo true || echo false) \
        exec venv/bin/supervisord -c app/supervisord.conf
}

case "${1:-serve}" in
    serve) setup; serve ;;
    setup) setup; say "Setup is complete. To start the service: bash run.sh" ;;
    demo) setup_packages; setup_settings; exec venv/bin/python -m app.demo ;;
    test) setup_packages; exec venv/bin/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder "${@:2}" ;;
    *) fail "Usage: bash run.sh [setup|demo|test]" ;;
esac
