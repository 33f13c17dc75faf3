#!/usr/bin/env bash
# Fetches a data set from its public home, or a mirror of it, and checks it against the published MD5 sums.
#
#   scripts/download_data.sh NAME [DIR]
#
#   NAME  mnist, fashion_mnist, cifar10 or cifar100
#   DIR   default: data/NAME, relative to the repository's root
#
# What is there and right is left alone. A broken transfer leaves FILE.part, and the next call asks only for the rest. A
# file gets its final name only after its sum was right. For a mirror of your own set SGDSCOPE_DATA_URL to the folder that
# holds the files. (SGDSCOPE_DATA_TABLE names another table of sums: the test's.)

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

table() { # data set, file, MD5
  cat "${SGDSCOPE_DATA_TABLE:-/dev/stdin}" <<'TABLE'
mnist         train-images-idx3-ubyte.gz  f68b3c2dcbeaaa9fbdd348bbdeb94873
mnist         train-labels-idx1-ubyte.gz  d53e105ee54ea40749a09fcbcd1e9432
mnist         t10k-images-idx3-ubyte.gz   9fb629c4189551a2d022fa330f9573f3
mnist         t10k-labels-idx1-ubyte.gz   ec29112dd5afa0611ce80d1b7f02629c
fashion_mnist train-images-idx3-ubyte.gz  8d4fb7e6c68d591d4c3dfef9ec88bf0d
fashion_mnist train-labels-idx1-ubyte.gz  25c81989df183df01b3e8a0aad5dffbe
fashion_mnist t10k-images-idx3-ubyte.gz   bef4ecab320f06d8554ea6380940ec79
fashion_mnist t10k-labels-idx1-ubyte.gz   bb300cfdad3c16e7a12a480ee83cd310
cifar10       cifar-10-binary.tar.gz      c32a1d4ab5d03f1284b67883e8d87530
cifar100      cifar-100-binary.tar.gz     03b5dce01913d631647c71ecec9e9cb8
TABLE
}

# The folders that hold a data set's files: its home first. MNIST's home refuses most callers these days.
homes() {
  if [[ ${SGDSCOPE_DATA_URL:-} ]]; then
    echo "${SGDSCOPE_DATA_URL%/}"
    return
  fi
  case $1 in
    mnist)
      echo http://yann.lecun.com/exdb/mnist
      echo https://ossci-datasets.s3.amazonaws.com/mnist
      echo https://storage.googleapis.com/cvdf-datasets/mnist
      ;;
    fashion_mnist)
      echo http://fashion-mnist.s3-website.eu-central-1.amazonaws.com
      echo https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion
      ;;
    cifar*)
      echo https://www.cs.toronto.edu/~kriz
      echo https://cave.cs.toronto.edu/kriz
      ;;
  esac
}

md5_of() { md5sum "$1" | cut -d' ' -f1; }

transfer() { # transfer URL PART_FILE
  local report=(--silent --show-error) status=0
  [[ ! -t 2 ]] || report=(--progress-bar)
  curl --fail --location "${report[@]}" --connect-timeout 20 --speed-limit 1000 --speed-time 60 \
    --continue-at - --output "$2" "$1" || status=$?
  ((status == 33)) || return "$status"
  rm "$2" # this server can only send whole files
  transfer "$1" "$2"
}

# Fetches one file into the current folder, trying each home in turn.
fetch() { # fetch FILE MD5
  local file=$1 expected=$2 home found problems=''
  for home in $(homes "$name"); do
    say "fetching $home/$file"
    if ! transfer "$home/$file" "$file.part"; then
      problems+=$'\n'"  $home: the transfer failed; curl's own words are above"
      continue
    fi
    found=$(md5_of "$file.part")
    if [[ $found == "$expected" ]]; then
      mv "$file.part" "$file"
      return
    fi
    rm "$file.part" # a wrong beginning must not be continued
    problems+=$'\n'"  $home: not the published file: found MD5 $found, expected $expected"
  done
  die "cannot get $file of $name:$problems
Call this again to continue where it stopped, or set SGDSCOPE_DATA_URL to a folder (http://... or file://...) that holds $file"
}

# CIFAR comes as an archive, of which the program reads the .bin files. The list of their sums is written last: it says
# that they are complete, and from which archive they came.
unpack() { # unpack ARCHIVE MD5
  rm -rf unpack.part
  mkdir unpack.part
  tar --extract --gzip --file="$1" --directory=unpack.part --strip-components=1 --wildcards '*.bin' ||
    die "cannot unpack $PWD/$1, although its MD5 is right; is the disk full?"
  (cd unpack.part && echo "# $2 $1" && md5sum -- *.bin) >"$1.sums.part"
  mv unpack.part/*.bin .
  mv "$1.sums.part" "$1.sums"
  rm -r unpack.part "$1"
}

is_right() { [[ -f $1 && $(md5_of "$1") == "$2" ]]; }

is_unpacked() { [[ -f $1.sums && $(head -1 "$1.sums") == "# $2 $1" ]] && md5sum --check --status "$1.sums"; }

install_file() { # install_file FILE MD5
  if is_unpacked "$@"; then
    say "what $1 holds is there and right"
    return
  fi
  if is_right "$@"; then say "$1 is there and right"; else fetch "$@"; fi
  if [[ $1 == *.tar.gz ]]; then unpack "$@"; fi
}

[[ ${1:-} != --help ]] || { help; exit; }
(($# <= 2)) || die_usage "takes NAME and DIR, but was given '$*'"
name=${1:-}
sums=$(table)
names=$(cut -d' ' -f1 <<<"$sums" | uniq | paste -sd' ')
[[ $name && $name != *[[:space:]]* && " $names " == *" $name "* ]] ||
  die_usage "no data set is called '$name'; the names are: $names"
command -v curl >/dev/null || die "curl is missing; call scripts/setup.sh, or apt-get install curl"

dir=data/$name
if (($# > 1)); then
  is_given DIR "$2"
  dir=$(absolute "$2")
fi
mkdir -p "$dir"
cd "$dir"

while read -r set file md5; do
  [[ $set != "$name" ]] || install_file "$file" "$md5"
done <<<"$sums"
say "$name is in $PWD"
