# fish completion for hawse; `hawse system install` puts it in place

function __hawse_complete
    set -l before (commandline --tokenize --cut-at-cursor --current-process)
    set -l word (commandline --current-token --cut-at-cursor)
    for candidate in ($before[1] __complete $before[2..-1] "$word" 2>/dev/null)
        if test "$candidate" = ":files"
            __fish_complete_path "$word"
        else
            echo $candidate
        end
    end
end

complete --command hawse --no-files --arguments '(__hawse_complete)'
