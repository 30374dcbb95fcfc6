package placement
import ("testing";"os";"strconv";"fmt")
func TestDbg(t *testing.T){
 s:=os.Getenv("SEED"); if s=="" {t.Skip()}
 n,_:=strconv.ParseUint(s,10,64)
 w:=newWorld(n); w.run()
 fmt.Println(w.failure)
 for _,m:=range w.machines { fmt.Printf("m %d life %d up %v gone %v joined %v at %d/%d sil %d", m.id,m.life,m.up,m.gone,m.joined,m.at,len(w.log),m.silentSince)
  if m.agent!=nil { fmt.Printf(" pending %v reading %v writing %v joining %d planned %+v stirred %d", m.agent.pending,m.agent.reading,m.agent.writing,m.agent.joining,m.agent.planned,m.catalog.stirred)}
  fmt.Println()
 }
 for _,m:=range w.head.Members() { fmt.Printf("%+v carries %v\n",m,w.head.carries(m.ID)) }
 for _,k:=range w.head.All() { g:=w.groups[k.Shards[0].ID]; fmt.Println(string(k.Encode())); l:=g.leader(); if l!=nil { c,_:=g.config(l.log); fmt.Printf("  leader %v epoch %d broken %v config %+v\n  sit %+v\n  next %+v\n",l.node,l.leads,g.broken(),c,g.situation(l),func() Step {x:=g.situation(l); return k.Shards[0].Next(&x,true)}()) } else {fmt.Println("  no leader", g.broken())}}
 if l:=w.groups[1].leader(); l!=nil { fmt.Println(w.head.Plan(l.machine.planning())) ; fmt.Println(l.machine.planning())}
}
func TestDbg2(t *testing.T){
 s:=os.Getenv("SEED"); if s=="" {t.Skip()}
 n,_:=strconv.ParseUint(s,10,64)
 w:=newWorld(n); w.run()
 for _,g:=range w.groups { if g.leader()!=nil {continue}
  for _,r:=range g.sorted() { c,at:=g.config(r.log); fmt.Printf("%s %v len %d term %d promised %d closed %v lost %v alive %v m %d.%d at %d config %+v\n",g.name,r.node,len(r.log),lastTerm(r.log),r.promised,r.closed,r.lost,g.alive(r.node)!=nil,r.machine.id,r.machine.life,at,*c)}
 }
}
