# bash completion for hawse; `hawse system install` puts it in place

_hawse() {
    local word=${COMP_WORDS[COMP_CWORD]} line=("${COMP_WORDS[@]:1:COMP_CWORD-1}") candidate
    # Bash takes names apart at colons; the command line's own words are what hawse has to see.
    if declare -F _get_comp_words_by_ref >/dev/null; then
        local words cword cur
        _get_comp_words_by_ref -n : -w words -i cword -c cur
        word=$cur line=("${words[@]:1:cword-1}")
    fi
    COMPREPLY=()
    while IFS= read -r candidate; do
        if [[ $candidate == :files ]]; then
            compopt -o default
        else
            COMPREPLY+=("$candidate")
            [[ $candidate == *: ]] && compopt -o nospace
        fi
    done < <("${COMP_WORDS[0]}" __complete "${line[@]}" "$word" 2>/dev/null)
    declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$word"
    return 0
}

complete -F _hawse hawse
