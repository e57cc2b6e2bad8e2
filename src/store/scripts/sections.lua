-- Functions of those scripts that do their work for several partitions in one call; put after the ones that count.
-- After what holds for the whole call, ARGV has for each partition its prefix, its token and its items, then where each of
-- these sections ends, and last how many there are. On a Redis Cluster there is one.

-- From here on the call is about another partition. What is summed of one is written before the next begins.
local function enter(prefix)
  P, USAGE, WAKE = prefix, prefix .. 'usage', prefix .. 'wake'
  sums, rings, records, attempts, set_aside = {}, {}, {}, {}, 0
end

-- Does each section with `part(at, till)`, which answers for its items and last how much was set aside. What fails of
-- one partition, as when its lease has another token, fails for that one alone: it answers why.
local function each_section(first, part)
  local count, at, answers = tonumber(ARGV[#ARGV]), first, {}
  for i = 1, count do
    local till = tonumber(ARGV[#ARGV - 1 - count + i])
    enter(ARGV[at])
    local token, first_item = ARGV[at + 1], at + 2
    local done, answer = pcall(function()
      return fenced(token) and FENCED or part(first_item, till)
    end)
    answers[i] = done and answer or (type(answer) == 'table' and answer.err or tostring(answer))
    at = till + 1
  end
  return answers
end
