#!/bin/sh
# Refuses a weak symbol outside Highway's N_* namespaces that holds AVX instructions: the linker may keep that copy for
# the whole program, and it would crash on a processor without AVX. Usage: check_isa_objects.sh OBJECT...
status=0
for object in "$@"; do
  weak=$(nm "$object" | awk '$2 ~ /^[WVu]$/ && $3 !~ /N_(SSSE3|SSE4|AVX2|AVX3|AVX3_DL)/ { print $3 }')
  found=$(objdump -d --no-show-raw-insn "$object" | WEAK="$weak" awk '
    BEGIN { count = split(ENVIRON["WEAK"], names, "\n"); for (i = 1; i <= count; i++) weak[names[i]] = 1 }
    /^[0-9a-f]+ <.*>:$/ { symbol = substr($2, 2, length($2) - 3); next }
    (symbol in weak) && ($2 ~ /^v/ || /%[yz]mm/) { print symbol; delete weak[symbol] }')
  [ -z "$found" ] && continue
  echo "$object: AVX instructions in weak symbols:"
  echo "$found" | c++filt | sed 's/^/  /'
  status=1
done
exit $status
