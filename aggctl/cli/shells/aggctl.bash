# Completion of aggctl for bash 4.0 or later; the package bash-completion may be there or not.
#   source <(aggctl completion bash)

_aggctl() {
    local line="${COMP_LINE:0:COMP_POINT}" program="${1/#\~\//$HOME/}"
    local before kept word option="" answer directive each
    local -a lines
    COMPREPLY=()
    type -P -- "$program" >/dev/null || program=aggctl # an alias
    answer="$("$program" __complete --line "$line" 2>/dev/null)" || return
    mapfile -t lines <<<"$answer"
    directive="${lines[-1]}"
    unset 'lines[-1]'
    case "$directive" in
    :0) compopt -o default ;;
    :16) compopt -o dirnames ;;
    esac

    # Bash replaces $2 only, what follows the last of $COMP_WORDBREAKS; what stands before it is kept.
    before="${line%"$2"}"
    kept="${before##*[[:blank:]]}"
    word="$kept$2"
    [[ $word == --*=* ]] && option="${word%%=*}="
    for each in "${lines[@]}"; do
        each="${each%%$'\t'*}"
        [[ $kept == *[\"\'] ]] || printf -v each '%q' "$each"
        each="$option$each"
        COMPREPLY+=("${each#"$kept"}")
    done
}

complete -F _aggctl aggctl
