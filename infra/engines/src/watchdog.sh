# Ends what its parent started, once the parent is gone.
#
# The parent holds the only write end of our standard input. It tells us what it starts and what it
# has ended; when the read fails, the parent has ended too, be it by SIGKILL, and what is still on
# the lists is ours to end. Our standard output is the lock on the parent's folder: it is held until
# we are through.
#
# $1: tenths of a second between SIGTERM and SIGKILL; 0: SIGKILL at once
# $2: the folder to remove at the end; empty: none
groups='' containers=''

without() { # $1: the item to leave out; the rest: the list
    gone=$1 kept=''
    shift
    for item; do [ "$item" = "$gone" ] || kept="$kept $item"; done
}

while read -r verb what; do
    case $verb in
    group) groups="$groups $what" ;;
    group-ended) without "$what" $groups && groups=$kept ;;
    container) containers="$containers $what" ;;
    container-ended) without "$what" $containers && containers=$kept ;;
    esac
done

# All groups together; true while any of them is there.
signal() {
    any=1
    for group in $groups; do kill -s "$1" -- "-$group" 2>/dev/null && any=0; done
    return $any
}

if [ "$1" -gt 0 ]; then
    signal TERM
    signal CONT # a paused one hears SIGTERM only now
    tenths=0
    while signal 0 && [ "$tenths" -lt "$1" ]; do
        sleep 0.1
        tenths=$((tenths + 1))
    done
fi
signal KILL
for container in $containers; do docker rm --force --volumes "$container" >&2; done
[ -z "$2" ] || rm -rf -- "$2"
