#!/bin/sh
# The recipe that is passed around: inotifywait into a shell loop.
# usage: recipe.sh DIR PREFIX STAGING
inotifywait -m -q -e create --format '%f' "$1" | while IFS= read -r name; do
    case $name in "$2"*) ln "$1/$name" "$3/$name" 2>/dev/null ;; esac
done
