# Completion of aggctl for fish 3.1 or later:
#   aggctl completion fish | source
# or, for the time to come
#   aggctl completion fish > ~/.config/fish/completions/aggctl.fish

function __aggctl_complete
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -e words[1]
    type -q -- $program; or set program aggctl # an alias
    set -l lines (command $program __complete $words "$word" 2>/dev/null)
    set -l option (string match -r -- '^--[^=]*=' "$word")
    set -l value (string replace -r -- '^--[^=]*=' '' "$word")
    switch "$lines[-1]"
        case :0
            set lines (__fish_complete_path "$value")
        case :16
            set lines (__fish_complete_directories "$value")
        case '*'
            set -e lines[-1]
    end
    for line in $lines
        printf '%s%s\n' "$option" $line
    end
end

complete -c aggctl -e
complete -c aggctl -f -k -a '(__aggctl_complete)'
