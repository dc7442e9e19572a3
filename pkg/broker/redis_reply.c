#include "broker/redis_reply.h"

#include "base/memory.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_BYTES ((size_t)192)   /* behind the reply itself: a short text, a few numbers */
#define BLOCK_BYTES ((size_t)65536) /* of the largest block, but for a value that is larger */
#define ELEMENTS_MAX ((size_t)16 * 1024 * 1024)

/* What is used of a block lies behind it. */
struct block {
    struct block *next; /* the one that was filled before */
    size_t size, used;
    max_align_t bytes[];
};

/* The outermost value, at the beginning of the reply's first block. */
struct root {
    redisReply reply;
    struct block *filling;
};

static struct block *new_block(size_t size, struct block *next)
{
    struct block *block = memory_resize(NULL, sizeof(*block) + size);

    *block = (struct block){.next = next, .size = size};
    return block;
}

static void *take(struct block *block, size_t size)
{
    void *taken = (char *)block->bytes + block->used;

    block->used += (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    return taken;
}

static void *allocate(struct root *root, size_t size)
{
    struct block *block = root->filling;

    if (size + sizeof(max_align_t) > block->size - block->used) {
        size_t next = block->size * 4 < BLOCK_BYTES ? block->size * 4 : BLOCK_BYTES;
        block =
            new_block(size + sizeof(max_align_t) > next ? size + sizeof(max_align_t) : next, block);
        root->filling = block;
    }
    return take(block, size);
}

static struct root *root_of(const redisReadTask *task)
{
    while (task->parent)
        task = task->parent;
    return task->obj;
}

static struct root *new_root(void)
{
    struct block *block = new_block(sizeof(struct root) + FIRST_BYTES, NULL);
    struct root *root = take(block, sizeof(*root));

    root->filling = block;
    return root;
}

/* The value of the task, in its place; *out_root is what it is part of. */
static redisReply *place(const redisReadTask *task, struct root **out_root)
{
    struct root *root = task->parent ? root_of(task) : new_root();
    redisReply *value = task->parent ? allocate(root, sizeof(*value)) : &root->reply;
    redisReply *parent = task->parent ? task->parent->obj : NULL;

    *value = (redisReply){.type = task->type};
    if (parent)
        parent->element[task->idx] = value;
    *out_root = root;
    return value;
}

static void *create_string(const redisReadTask *task, char *text, size_t size)
{
    struct root *root;
    redisReply *value = place(task, &root);

    value->str = allocate(root, size + 1);
    memcpy(value->str, text, size);
    value->str[size] = '\0';
    value->len = size;
    return value;
}

static void *create_elements(const redisReadTask *task, size_t count)
{
    struct root *root;

    if (count > ELEMENTS_MAX)
        return NULL;
    redisReply *value = place(task, &root);
    value->elements = count;
    if (count)
        value->element = allocate(root, count * sizeof(redisReply *));
    return value;
}

static void *create_integer(const redisReadTask *task, long long number)
{
    struct root *root;
    redisReply *value = place(task, &root);

    value->integer = number;
    return value;
}

static void *create_nil(const redisReadTask *task)
{
    struct root *root;
    redisReply *value = place(task, &root);

    value->type = REDIS_REPLY_NIL; /* the task has the type of what is not there */
    return value;
}

static void free_value(void *reply)
{
    redis_reply_free(reply);
}

#if HIREDIS_MAJOR >= 1
/* RESP3 alone has these, which we do not ask for. */
static void *create_double(const redisReadTask *task, double number, char *text, size_t size)
{
    redisReply *value = create_string(task, text, size);

    value->dval = number;
    return value;
}

static void *create_bool(const redisReadTask *task, int number)
{
    return create_integer(task, number);
}

static redisReplyObjectFunctions functions = {.createString = create_string,
                                              .createArray = create_elements,
                                              .createInteger = create_integer,
                                              .createDouble = create_double,
                                              .createNil = create_nil,
                                              .createBool = create_bool,
                                              .freeObject = free_value};
#else
static void *create_array(const redisReadTask *task, int count)
{
    return create_elements(task, count > 0 ? (size_t)count : 0);
}

static redisReplyObjectFunctions functions = {.createString = create_string,
                                              .createArray = create_array,
                                              .createInteger = create_integer,
                                              .createNil = create_nil,
                                              .freeObject = free_value};
#endif

void redis_reply_use(redisReader *reader)
{
    reader->fn = &functions;
}

void redis_reply_free(redisReply *reply)
{
    struct block *block = reply ? ((struct root *)(void *)reply)->filling : NULL;

    while (block) {
        struct block *next = block->next;
        free(block);
        block = next;
    }
}
