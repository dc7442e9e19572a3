#!/bin/sh
# Checks every #include of pkg, cmd and tests against layers.txt; prints each offending line.
# Besides the table: one cmd/<service> never includes another, and no path climbs with "..".
cd "$(dirname "$0")/.." || exit 2

grep -rn '^ *# *include' --include='*.[ch]' pkg cmd tests |
awk -v services="$(echo cmd/*/)" '
    function bad(why) { print $0 "   <- " why; failed = 1 }

    # "pkg/store/" owns what is below it, "pkg/broker/*nats*" what its pattern matches.
    function owns(pattern, file) {
        if (pattern ~ /\/$/) return index(file, pattern) == 1
        gsub(/\./, "[.]", pattern); gsub(/\*/, "[^/]*", pattern)
        return file ~ ("^" pattern "$")
    }
    function is_owner(header, file,   i) {
        for (i = 1; i <= owner_count[header]; i++)
            if (owns(owner[header, i], file)) return 1
        return 0
    }
    function layer_of(file,   name) {
        for (name in layer) if (index(file, name "/") == 1) return name
        return ""
    }
    function service_of(path,   i) {
        for (i = 1; i <= service_count; i++)
            if (index(path, service[i]) == 1) return service[i]
        return ""
    }

    BEGIN {
        service_count = split(services, service, " ")
        is_ours["messages"] = 1 # generated, so not a folder of the tree
    }

    FILENAME == ARGV[1] {
        if ($0 ~ /^#/ || NF == 0) next
        if ($1 == "only") {
            for (i = 3; i <= NF; i++) owner[$2, ++owner_count[$2]] = $i
            next
        }
        layer[$1] = 1
        folder = $1; sub(/^pkg\//, "", folder); is_ours[folder] = 1
        for (i = 2; i <= NF; i++) may[$1, $i] = 1
        may[$1, folder] = 1
        next
    }
    {
        file = $0; sub(/:.*/, "", file)
        if (!match($0, /[<"][^>"]*[>"]/)) next
        header = substr($0, RSTART + 1, RLENGTH - 2)

        if (header ~ /(^|\/)\.\.\//) bad("a path that climbs")
        for (prefix in owner_count)
            if (index(header, prefix) == 1 && !is_owner(prefix, file)) bad(prefix " belongs to its driver")

        home = layer_of(file)
        folder = header; if (!sub(/\/.*/, "", folder)) folder = ""
        if (home == "") bad("no row in layers.txt for this folder")
        else if ((folder in is_ours) && !((home, folder) in may)) bad(home " may not use " folder)

        target = service_of("cmd/" header)
        if (home != "tests" && target != "" && target != service_of(file)) bad("another service")
    }
    END { exit failed }
' tests/layers.txt -
