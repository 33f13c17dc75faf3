#!/usr/bin/env bash
# scripts/download_data.sh against a local server: good, interrupted, altered and absent files. Takes seconds and touches
# no network.
set -euo pipefail

download=$(realpath "$(dirname "$0")/../scripts/download_data.sh")
work=$(mktemp -d)
server=''
trap '[[ ! $server ]] || kill "$server"; rm -rf "$work"' EXIT
cd "$work"
mkdir files installed

# --- The server -------------------------------------------------------------------------------------------------------
# Serves files/, with byte ranges, and writes each request and its Range into requests. Of a file with a sibling NAME.cut
# it sends that many bytes and hangs up. It prints its port and then serves until it is killed.

cat >server.py <<'PYTHON'
import http.server, os, re, sys

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range", "-")
        with open("requests", "a") as log:
            print(self.path[1:], wanted, file=log)
        path = "files" + self.path
        if not os.path.isfile(path):
            return self.send_error(404)
        content = open(path, "rb").read()
        first = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted != "-" else 0
        if first > len(content):
            return self.send_error(416)
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", len(content) - first)
        self.end_headers()
        end = int(open(path + ".cut").read()) if os.path.exists(path + ".cut") else len(content)
        self.wfile.write(content[first:end])

    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
PYTHON
exec 3< <(exec python3 server.py)
server=$!
read -r port <&3
export SGDSCOPE_DATA_URL=http://127.0.0.1:$port SGDSCOPE_DATA_TABLE=$work/table
unset http_proxy HTTP_PROXY all_proxy ALL_PROXY

# --- The data sets ----------------------------------------------------------------------------------------------------

head -c 50000 /dev/urandom >files/digits.gz
head -c 3000 /dev/urandom >files/labels.gz
mkdir cifar
head -c 700 /dev/urandom >cifar/train.bin
head -c 300 /dev/urandom >cifar/test.bin
echo "not wanted" >cifar/readme.html
tar -czf files/cifar.tar.gz cifar
sum() { md5sum "$1" | cut -d' ' -f1; }
cat >table <<TABLE
mnist digits.gz $(sum files/digits.gz)
mnist labels.gz $(sum files/labels.gz)
cifar10 cifar.tar.gz $(sum files/cifar.tar.gz)
TABLE

# --- The checks -------------------------------------------------------------------------------------------------------

passed=0
check() { # check WHAT COMMAND...
  if ! "${@:2}"; then
    printf 'FAILED: %s (%s)\nthe last download said:\n%s\n' "$1" "${*:2}" "$(cat output)" >&2
    exit 1
  fi
  passed=$((passed + 1))
}
succeeds() { "$download" "$@" >output 2>&1; }
fails() { ! "$download" "$@" >output 2>&1; }
says() { grep -qF -- "$1" output; }
asked_for() { [[ $(cat requests) == "$1" ]]; }
absent() { [[ ! -e $1 ]]; }
same_files() { [[ $(ls "$1") == "$2" ]]; }
forget() { rm -rf installed requests && touch requests; }

forget
check "good files are installed" succeeds mnist installed
check "the images are whole" cmp files/digits.gz installed/digits.gz
check "the labels are whole" cmp files/labels.gz installed/labels.gz
check "nothing else is left" same_files installed $'digits.gz\nlabels.gz'

: >requests
check "a second call succeeds" succeeds mnist installed
check "and asks for nothing" asked_for ""

echo "bitrot" >>installed/labels.gz
check "a damaged file is fetched anew" succeeds mnist installed
check "it alone" asked_for "labels.gz -"
check "and is whole" cmp files/labels.gz installed/labels.gz

forget
echo 20000 >files/digits.gz.cut
check "an interrupted transfer is an error" fails mnist installed
check "that names the file" says "cannot get digits.gz"
check "and says how to go on" says "Call this again to continue"
check "with nothing under the final name" absent installed/digits.gz
rm files/digits.gz.cut
: >requests
check "the next call continues" succeeds mnist installed
check "and asks only for what is missing" asked_for $'digits.gz bytes=20000-\nlabels.gz -'
check "the continued file is whole" cmp files/digits.gz installed/digits.gz

forget
cp files/labels.gz labels.good
echo "altered" >>files/labels.gz
check "an altered file is an error" fails mnist installed
check "that names it" says "cannot get labels.gz"
check "and the sum found" says "found MD5 $(sum files/labels.gz)"
check "and the sum expected" says "expected $(sum labels.good)"
check "nothing of it is left" same_files installed "digits.gz"
cp labels.good files/labels.gz

forget
mkdir installed
head -c 60000 /dev/urandom >installed/digits.gz.part
check "a wrong beginning is an error" fails mnist installed
check "and forgotten" succeeds mnist installed

forget
check "an archive is unpacked" succeeds cifar10 installed
check "to the .bin files alone" same_files installed $'cifar.tar.gz.sums\ntest.bin\ntrain.bin'
check "which are whole" cmp cifar/train.bin installed/train.bin
: >requests
check "a second call succeeds" succeeds cifar10 installed
check "and asks for nothing" asked_for ""
rm installed/test.bin
check "a lost .bin file brings the archive back" succeeds cifar10 installed
check "and itself" cmp cifar/test.bin installed/test.bin

check "an unknown name is an error" fails imagenet installed
check "that lists the names" says "no data set is called 'imagenet'; the names are: mnist cifar10"
check "so is no name" fails
check "so are two names in one word" fails "mnist cifar10" installed
check "and something after the folder" fails mnist installed more
check "which is told" says "takes NAME and DIR, but was given 'mnist installed more'"

forget
rm files/digits.gz
check "a file that the server lacks is an error" fails mnist installed
check "with the server's answer" says "404"
check "and nothing under the final name" absent installed/digits.gz

forget
kill "$server"
tail --pid="$server" -f /dev/null
server=''
check "a server that is down is an error" fails mnist installed
check "that names its address" says "$SGDSCOPE_DATA_URL: the transfer failed"

echo "$passed passed, 0 failed"
