#compdef aggctl
# Completion of aggctl for zsh: after compinit
#   source <(aggctl completion zsh)
# or, for the time to come, as a file in a folder of $fpath
#   aggctl completion zsh > "${fpath[1]}/_aggctl"

_aggctl() {
    local program=${${(Q)words[1]}/#\~\//$HOME/} word=${(Q)PREFIX} line directive
    local -a lines described
    whence -p -- "$program" >/dev/null || program=aggctl # an alias
    lines=("${(@f)$("$program" __complete "${(@Q)words[2,CURRENT-1]}" "$word" 2>/dev/null)}")
    directive=$lines[-1]
    [[ $PREFIX == --*=* ]] && compset -P 1 '*='
    case $directive in
    :0) _files && return ;;
    :16) _files -/ && return ;;
    esac
    for line in "${(@)lines[1,-2]}"; do
        word=${${${line%%$'\t'*}//\\/\\\\}//:/\\:} # _describe takes what follows a colon for the description
        [[ $line == *$'\t'* ]] && word+=":${line#*$'\t'}"
        described+=("$word")
    done
    _describe -V 'aggctl' described
}

if [[ $funcstack[1] == _aggctl ]]; then
    _aggctl "$@"
else
    compdef _aggctl aggctl
fi
