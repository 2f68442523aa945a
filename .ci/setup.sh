#!/bin/sh
# Installs what `make demo` and `make test` need and this machine lacks: a C linker, and PostgreSQL's server binaries.
# `setup.sh heavy` also gets what the heavy tests need: PgBouncer, always by unpacking it, since its package would start
# a service; for the tests of the dashboard Chromium, Node.js and their packages, the former only as root; and from PyPI
# and npm what tests the API against its own description, ours of the provider against the provider's, a server that
# speaks S3, and Azure's emulator. `setup.sh chaos` gets what sets one process's clock, which `heavy` gets too.
#
# As root (or with a sudo that asks for nothing) by apt-get, without the cluster that Debian's package would make.
# As anybody else the packages are unpacked below .callspool/, and nothing of the system changes.
set -eu

private=.callspool/debian

say() { printf 'setup: %s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    command -v apt-get >/dev/null || return 1
    [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null
}

# A package's name is not found before the lists are there.
apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 && return
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

have_postgres() {
    command -v initdb >/dev/null && return
    ls /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb /opt/homebrew/opt/postgresql*/bin/initdb \
        /usr/local/opt/postgresql*/bin/initdb "$private"/usr/lib/postgresql/*/bin/initdb 2>/dev/null | grep -q .
}

# The package of the newest server, such as postgresql-15.
newest_server() {
    apt-cache "$@" depends postgresql | sed -n 's/.*Depends: \(postgresql-[0-9][0-9]*\)$/\1/p' | head -n 1
}

install_postgres() {
    say "installing PostgreSQL's server binaries"
    apt_install postgresql-common
    dropin=/etc/postgresql-common/createcluster.d/callspool.conf
    as_root mkdir -p "${dropin%/*}"
    echo 'create_main_cluster = false' | as_root tee "$dropin" >/dev/null
    apt_install postgresql || { as_root rm -f "$dropin"; return 1; }
    as_root rm -f "$dropin"
}

# unpack PACKAGE: with what it needs and this machine lacks. apt-get with lists and archives of its own needs no rights.
# The package `postgresql` stands for that of the newest server, since it brings nothing itself.
unpack() {
    package=$1
    say "unpacking $package into $private"
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { say "no apt-get here: install $package"; return 1; }
    apt="$PWD/$private/apt"
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    set -- -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt" -o "Dir::Cache::archives=$apt/archives" \
        -o Debug::NoLocking=true -o APT::Sandbox::User=
    apt-get "$@" update -qq
    [ "$package" != postgresql ] || package=$(newest_server "$@")
    [ -n "$package" ] || { say "Debian's lists name no PostgreSQL"; return 1; }
    packages=$(apt-get "$@" install --print-uris -y -qq --no-install-recommends "$package" | sed "s/^'[^']*' \([^_ ]*\)_.*/\1/")
    (cd "$apt/archives" && apt-get "$@" download -qq $packages)
    for deb in "$apt"/archives/*.deb; do dpkg-deb -x "$deb" "$private"; done
    rm -rf "$apt"
}

have_pgbouncer() {
    command -v pgbouncer >/dev/null || [ -x "$private/usr/sbin/pgbouncer" ]
}

have_faketime() {
    ls /usr/lib/*/faketime/libfaketimeMT.so.1 "$private"/usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null | grep -q .
}

have_chromium() {
    command -v "${CHROMIUM:-chromium}" >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null
}

# Of Debian's packages npm needs Debian's nodejs: it is left alone where another Node.js has brought its own.
install_browser() {
    have_chromium || set -- "$@" chromium fonts-dejavu-core
    command -v npm >/dev/null || set -- "$@" nodejs npm
    [ $# -gt 0 ] || return 0
    may_install || { say "the dashboard's tests need Chromium and Node.js 18 or newer with npm: install $*"; return 1; }
    say "installing $*"
    apt_install "$@"
}

# What was installed last stands in a file of npm's own.
install_modules() {
    (
        cd tests/browser
        [ node_modules/.package-lock.json -nt package-lock.json ] && return
        say "installing the packages of tests/browser"
        npm ci --silent
        touch node_modules/.package-lock.json
    )
}

# A virtual environment of their own, so that nothing of the system's Python changes.
python_tools="schemathesis==4.32.5 openapi-spec-validator==0.9.0 moto[s3]==5.2.5 flask==3.1.2 flask-cors==6.0.1 twilio==9.13.0"
have_python_tools() {
    [ "$(cat .callspool/python/tools 2>/dev/null)" = "$python_tools" ]
}

install_python_tools() {
    say "installing $python_tools into .callspool/python"
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        may_install || { say "python3 with venv is needed: apt-get install python3-venv"; return 1; }
        apt_install python3-venv
    fi
    rm -rf .callspool/python
    python3 -m venv .callspool/python
    .callspool/python/bin/pip install --quiet --disable-pip-version-check $python_tools
    echo "$python_tools" >.callspool/python/tools
}

# A mock server, and Twilio's public OpenAPI description as a package of Twilio's own carries it: of that one file only.
prism_tools="@stoplight/prism-cli@5.14.2 @twilio/cli-core@9.0.0"
have_prism() {
    [ "$(cat .callspool/prism/tools 2>/dev/null)" = "$prism_tools" ]
}

install_prism() {
    say "installing $prism_tools into .callspool/prism"
    rm -rf .callspool/prism
    mkdir -p .callspool/prism
    (
        cd .callspool/prism
        npm install --prefix . --silent --no-audit --no-fund --ignore-scripts "${prism_tools% *}"
        npm pack --silent --ignore-scripts "${prism_tools#* }" >/dev/null
        tar -xzf twilio-cli-core-*.tgz --strip-components=4 package/src/services/twilio-api/twilio_api_v2010.json
        rm twilio-cli-core-*.tgz
    )
    echo "$prism_tools" >.callspool/prism/tools
}

# Azure's emulator.
azurite=3.37.0
have_azurite() {
    [ "$(cat .callspool/azurite/version 2>/dev/null)" = "$azurite" ]
}

install_azurite() {
    say "installing azurite $azurite into .callspool/azurite"
    npm install --silent --no-audit --no-fund --prefix .callspool/azurite "azurite@$azurite"
    echo "$azurite" >.callspool/azurite/version
}

if ! command -v cc >/dev/null; then
    may_install || { say "a C compiler is needed to link: apt-get install gcc libc6-dev"; exit 1; }
    say "installing a C linker"
    apt_install gcc libc6-dev
fi
if ! have_postgres; then
    if may_install; then
        install_postgres
    elif command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null; then
        unpack postgresql
    else
        say "PostgreSQL's server binaries are needed. Fedora: dnf install postgresql-server; macOS: brew install postgresql"
        exit 1
    fi
fi
if [ "${1:-}" = heavy ] && ! have_pgbouncer; then
    unpack pgbouncer
fi
case "${1:-}" in
heavy | chaos) have_faketime || unpack libfaketime ;;
esac
if [ "${1:-}" = heavy ] && ! have_python_tools; then
    install_python_tools
fi
if [ "${1:-}" = heavy ]; then
    install_browser
    install_modules
    have_prism || install_prism
    have_azurite || install_azurite
fi
if ! command -v cargo >/dev/null; then
    say "Rust is needed: https://rustup.rs"
    exit 1
fi
